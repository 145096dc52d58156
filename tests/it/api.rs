//! What the public types promise by themselves: `Send`, `Sync`, `Debug`, and `Clone` for data.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

#[cfg(feature = "multipart")]
use threaded::multipart::{Form, Part};
use threaded::*;

use crate::support::pools::outcome_of;
use crate::support::raw::refused_address;
use crate::support::server::Server;

fn is_cloneable_data<T: Clone + Send + Sync + Debug + Unpin + 'static>() {}
fn is_plain_data<T: Send + Sync + Debug + Unpin + 'static>() {}
fn is_movable<T: Send + Debug + 'static>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

/// A test that checks each type with the function before it, which happens at compile time, and a list of these types.
macro_rules! test_types {
    ($test:ident, $list:ident: $($(#[$feature:meta])? $check:ident: $($name:ident $(<$($parameter:tt),+>)?),+;)+) => {
        #[test]
        fn $test() {
            $($(#[$feature])? { $($check::<$name $(<$($parameter),+>)?>();)+ })+
        }

        const $list: &[&str] = &[$($(stringify!($name)),+),+];
    };
}

test_types! {
    outcomes_and_specs_are_plain_data, DATA:
    is_cloneable_data: RequestSpec, RequestBody, Auth, AddressFilter, TransportOptions, Limits, OriginLimits, Retry, RetryBudget;
    is_cloneable_data: Outcome, ThreadResponse, ThreadException, Response, ResponseHead, RedirectHop;
    is_cloneable_data: Error, ErrorKind, FetchError, PoolError, SubmitError, Stats;
    #[cfg(feature = "multipart")]
    is_cloneable_data: Form, Part;
    // They borrow from the job that they are about.
    is_plain_data: Attempt<'static>, Event<'static>, Progress<'static>, RetryContext<'static>, RetryEvent<'static>;
    #[cfg(any(feature = "journal", feature = "redis"))]
    is_plain_data: QueueDown<'static>, QueueUp<'static>, Superseded<'static>;
    is_plain_data: BoxError;
}

type Urls = std::vec::IntoIter<String>;

test_types! {
    pools_and_their_iterators_can_be_shared_and_moved, POOLS:
    is_cloneable_data: Handle;
    is_plain_data: Pool, Responses, Exceptions, JobHandle, Incoming<'static>;
    is_movable: PoolBuilder, Session, Imap<'static, Urls>, ImapUnordered<'static, Urls>, Outcomes;
    is_movable: ReqwestTransport, Exchange<'static>, ResponseBody;
    #[cfg(feature = "hyper")]
    is_movable: HyperTransport, PoolBuilder<HyperBuilder>, Session<HyperBuilder>;
    #[cfg(feature = "hyper")]
    is_cloneable_data: HyperBuilder;
    #[cfg(any(feature = "journal", feature = "redis"))]
    is_plain_data: Deliveries, Delivery;
    #[cfg(feature = "ureq")]
    is_movable: UreqTransport, PoolBuilder<UreqConfigBuilder>, Session<UreqConfigBuilder>;
}

/// Traits, and other names for types of other crates.
const NOT_TYPES: &[&str] = &[
    "AnyTransport",
    // Hidden: how a transport tells its engine.
    "ByEngine",
    "IntoUrl",
    "Observer",
    "OutcomeExt",
    "Transport",
    "TransportBuilder",
    "UreqConfigBuilder",
];

#[test]
fn every_public_type_is_in_these_lists() {
    let known = [DATA, POOLS, NOT_TYPES].concat();
    let mut missing = public_types();
    missing.retain(|name| !known.contains(&name.as_str()));
    assert!(missing.is_empty(), "add to a list above: {missing:?}");
}

/// The public types and traits at the crate's root and in its public modules, as its sources name them.
fn public_types() -> Vec<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = std::fs::read_to_string(sources.join("lib.rs")).unwrap();
    let mut names = defined_types(&root);
    for export in root.split("\npub use ").skip(1) {
        let (export, _) = export.split_once(';').unwrap();
        let (module, items) = export.rsplit_once("::").unwrap_or(("", export));
        for item in items.split([',', '{', '}']).map(str::trim) {
            if item.starts_with(char::is_uppercase) {
                names.push(item.to_owned());
            } else {
                // A function, a crate, or a public module with types of its own.
                let file = sources.join(module.replace("::", "/")).join(item);
                let module = std::fs::read_to_string(file.with_extension("rs"));
                names.extend(defined_types(&module.unwrap_or_default()));
            }
        }
    }
    assert!(names.len() >= 35, "are these all? {names:?}");
    names
}

fn defined_types(source: &str) -> Vec<String> {
    let keywords = ["struct", "enum", "union", "type", "trait"];
    let definitions = source.lines().filter_map(|line| {
        let (keyword, name) = line.strip_prefix("pub ")?.split_once(' ')?;
        keywords.contains(&keyword).then_some(name)
    });
    definitions
        .map(|name| {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
            name[..end.unwrap_or(name.len())].to_owned()
        })
        .collect()
}

#[cfg(all(feature = "journal", feature = "redis"))]
#[test]
fn queues_and_what_they_hold_are_plain_data() {
    use threaded::queue::*;

    is_cloneable_data::<Queue>();
    is_cloneable_data::<Job>();
    is_cloneable_data::<Submitted>();
    is_cloneable_data::<Acked>();
    is_cloneable_data::<Recorded>();
    is_cloneable_data::<DeadJob>();
    is_cloneable_data::<QueueStats>();
    is_cloneable_data::<QueueError>();
    is_cloneable_data::<Journal>();
    is_cloneable_data::<Fsync>();
    is_cloneable_data::<RedisQueue>();
    #[cfg(feature = "default-tls")]
    is_cloneable_data::<SealingKey>();
    is_error::<QueueError>();
}

#[test]
fn errors_are_errors() {
    is_error::<Error>();
    is_error::<FetchError>();
    is_error::<PoolError>();
    is_error::<SubmitError>();
    is_error::<ThreadException>();
}

#[test]
fn the_channels_are_those_of_the_re_exported_crates() {
    let _: fn(&Pool) -> &crossbeam_channel::Receiver<ThreadResponse> = Pool::response_channel;
    let _: fn(&Response) -> http::StatusCode = Response::status;
    let _: fn(&Response) -> &url::Url = Response::url;
    let _: fn(&Response) -> &bytes::Bytes = Response::bytes;
}

#[test]
fn whatever_names_a_url_is_taken_as_one() {
    fn check<U: IntoUrl + Into<RequestSpec> + Clone>(url: U) {
        let get: RequestSpec = url.clone().into();
        let post = RequestSpec::post(url.clone());
        let other = RequestSpec::new("PROPFIND", "http://test/").with_url(url);
        for (spec, method) in [(get, "GET"), (post, "POST"), (other, "PROPFIND")] {
            assert_eq!((spec.method().as_str(), spec.url()), (method, URL));
        }
    }
    const URL: &str = "https://example.com/a?b=c";
    let (uri, url) = (http::Uri::from_static(URL), url::Url::parse(URL).unwrap());
    check(URL);
    check(&URL);
    check(URL.to_owned());
    check(&URL.to_owned());
    check(Box::<str>::from(URL));
    check(Cow::Borrowed(URL));
    check(Cow::<str>::Owned(URL.to_owned()));
    check(&uri);
    check(uri);
    check(&url);
    check(url);
}

#[test]
fn a_refused_request_converts_back() {
    let pool = Pool::builder().num_threads(1).build().unwrap();
    pool.close();
    let error = pool.submit("http://test/").unwrap_err();
    assert_eq!(RequestSpec::from(error).url(), "http://test/");
}

#[test]
fn the_settings_of_a_spec_can_be_read() {
    let spec = RequestSpec::get("http://test/");
    assert_eq!((spec.time_limit(), spec.body_limit()), (None, None));
    assert_eq!((spec.redirect_limit(), spec.proxy_url()), (None, None));
    assert_eq!((spec.save_path(), spec.has_handler()), (None, false));
    assert!(spec.wants_decoding());

    let second = Duration::from_secs(1);
    let spec = spec.timeout(second).max_body(7).max_redirects(3);
    let spec = spec.proxy("http://me:s3cr3t@proxy.test").decode(false);
    assert_eq!(spec.time_limit(), Some(Some(second)));
    assert_eq!(spec.body_limit(), Some(Some(7)));
    assert_eq!(spec.redirect_limit(), Some(3));
    assert_eq!(spec.proxy_url(), Some("http://me:s3cr3t@proxy.test"));
    assert!(!format!("{spec:?}").contains("s3cr3t"));
    assert!(!spec.wants_decoding());

    #[cfg(feature = "gzip")]
    assert_eq!(
        [spec.gzip_level(), spec.clone().gzip(6).gzip_level()],
        [None, Some(6)]
    );

    let spec = spec.timeout(None).max_body(None).save_to("file");
    assert_eq!(spec.time_limit(), Some(None));
    assert_eq!(spec.body_limit(), Some(None));
    assert_eq!(spec.save_path(), Some(Path::new("file")));

    let spec = spec.read_with(|_, _| Ok(()));
    assert_eq!((spec.save_path(), spec.has_handler()), (None, true));
}

#[test]
fn a_response_can_be_made_without_a_server() {
    let url = url::Url::parse("https://example.com/a").unwrap();
    let made = http::Response::builder().status(404);
    let made = made.header("Content-Length", "4").extension(url.clone());
    let response = Response::from(made.body("gone").unwrap());
    assert_eq!((response.status().as_u16(), response.url()), (404, &url));
    assert_eq!(response.content_length(), Some(4));
    assert_eq!(response.as_ref(), b"gone");
    assert_eq!(
        (response.history(), response.remote_addr()),
        (&[][..], None)
    );

    let response = Response::from(http::Response::new(bytes::Bytes::new()));
    assert_eq!(response.url().as_str(), "http://unknown.invalid/");
    assert_eq!(response.content_length(), None);
}

#[test]
fn an_outcome_converts_into_its_response() {
    let stub = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::from("ok")));
    let builder = Pool::builder().session(move || Session::new(stub));
    let (responses, _) = builder.map(["http://test/1", "http://test/2"]).unwrap();
    let [first, second]: [ThreadResponse; 2] = responses.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(first.into_response().text(), "ok");
    assert_eq!(Response::from(second).text(), "ok");
}

/// The response of a stub that sends this status and this body.
fn stubbed(status: u16, body: &'static str, request: RequestSpec) -> ThreadResponse {
    let stub = move |_: Exchange<'_>| {
        let mut response = http::Response::new(ResponseBody::from(body));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        Ok(response)
    };
    outcome_of(Pool::builder().session(move || Session::new(stub)), request).unwrap()
}

#[test]
fn a_response_is_displayed_as_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let get = || RequestSpec::get("http://me:pw@stub.test/a?key=s3cr3t");
    let handled = get().read_with(|_, body| Ok(body.read_exact(&mut [0; 5])?));
    let saved_to = format!(
        "GET http://***@stub.test/a?key=***: 200 OK, saved to {} in ",
        file.display()
    );
    let table = [
        (
            stubbed(200, "hello", get()),
            "GET http://***@stub.test/a?key=***: 200 OK, 5 bytes in ",
        ),
        (
            stubbed(404, "", get()),
            "GET http://***@stub.test/a?key=***: 404 Not Found, 0 bytes in ",
        ),
        (
            stubbed(200, "1", RequestSpec::post("http://stub.test/")),
            "POST http://stub.test/: 200 OK, 1 byte in ",
        ),
        (stubbed(200, "hello", get().save_to(&file)), &saved_to),
        (
            stubbed(200, "hello", handled),
            "GET http://***@stub.test/a?key=***: 200 OK in ",
        ),
    ];
    for (response, expected) in table {
        let shown = response.to_string();
        let elapsed = format!("{:.1?}", response.elapsed());
        assert_eq!(shown.strip_prefix(expected), Some(&*elapsed), "{shown}");
    }
}

#[cfg(feature = "json")]
#[test]
fn a_body_that_is_not_the_json_expected_is_told_with_its_request() {
    fn sum(response: &ThreadResponse) -> Result<u32, Box<dyn std::error::Error>> {
        let numbers: Vec<u32> = response.json()?;
        Ok(numbers.iter().sum())
    }
    let get = || RequestSpec::get("http://stub.test/a?key=s3cr3t");
    assert_eq!(sum(&stubbed(200, "[1, 2]", get())).unwrap(), 3);

    let error = sum(&stubbed(200, "", get())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "GET http://stub.test/a?key=***: could not decode the body: \
         EOF while parsing a value at line 1 column 0"
    );
    let error = sum(&stubbed(502, "<html>", get())).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(" (the status is 502 Bad Gateway)"),
        "{error}"
    );

    let exception = error.downcast::<ThreadException>().unwrap();
    assert_eq!(
        (exception.kind(), exception.status()),
        (ErrorKind::Decode, None)
    );
    assert_eq!(exception.response().unwrap().text(), "<html>");
    assert_eq!(exception.request().url(), "http://stub.test/a?key=s3cr3t");
}

#[test]
fn fetch_returns_the_response_or_tells_why_there_is_none() {
    let server = Server::responding("hello");
    let response = fetch(RequestSpec::get(server.url("/")).header("X-A", "1")).unwrap();
    assert_eq!((response.text().as_ref(), response.index()), ("hello", 0));
    assert_eq!(server.requests(), 1);

    let refused = refused_address();
    let error = fetch(format!("http://{refused}/")).unwrap_err();
    let exception = error.exception().unwrap();
    assert_eq!(exception.kind(), ErrorKind::Connect);
    assert_eq!(error.to_string(), exception.to_string());
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");

    let error = FetchError::from(Pool::builder().num_threads(0).build().unwrap_err());
    assert_eq!(error.to_string(), PoolError::NoThreads.to_string());
    assert!(error.exception().is_none());
}
