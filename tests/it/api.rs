//! What the types promise by themselves.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use threaded::*;

fn is_plain_data<T: Send + Sync + Debug + Unpin + 'static>() {}
fn is_movable<T: Send + Debug + 'static>() {}
fn is_cloneable<T: Clone>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

#[test]
fn outcomes_and_specs_are_plain_data() {
    is_plain_data::<RequestSpec>();
    is_plain_data::<RequestBody>();
    is_plain_data::<Response>();
    is_plain_data::<ThreadResponse>();
    is_plain_data::<ThreadException>();
    is_plain_data::<RedirectHop>();
    is_plain_data::<Error>();
    is_plain_data::<ErrorKind>();
    is_plain_data::<PoolError>();
    is_plain_data::<SubmitError>();
    is_plain_data::<Stats>();
    is_plain_data::<Auth>();
    is_plain_data::<AddressFilter>();
    is_plain_data::<ResponseHead>();
    is_plain_data::<Limits>();
    is_plain_data::<OriginLimits>();
    is_plain_data::<Retry>();
    is_plain_data::<RetryBudget>();
    is_plain_data::<RetryContext<'static>>();
    is_plain_data::<RetryEvent<'static>>();
    is_plain_data::<Attempt<'static>>();
    is_plain_data::<Event<'static>>();
    #[cfg(feature = "multipart")]
    is_plain_data::<multipart::Form>();
    #[cfg(feature = "multipart")]
    is_plain_data::<multipart::Part>();
    is_cloneable::<RequestSpec>();
    is_cloneable::<ThreadResponse>();
    is_cloneable::<ThreadException>();
    is_cloneable::<Error>();
    is_cloneable::<PoolError>();
    is_cloneable::<SubmitError>();
}

#[test]
fn pools_and_their_iterators_can_be_shared_and_moved() {
    is_plain_data::<Pool>();
    is_plain_data::<Handle>();
    is_cloneable::<Handle>();
    is_movable::<Imap<std::vec::IntoIter<String>>>();
    is_movable::<ImapUnordered<std::vec::IntoIter<String>>>();
    is_plain_data::<Responses>();
    is_plain_data::<Exceptions>();
    is_movable::<Outcomes>();
    is_movable::<PoolBuilder>();
    is_movable::<Session>();
    is_movable::<ReqwestTransport>();
    is_movable::<ResponseBody>();
}

#[test]
fn errors_are_errors() {
    is_error::<Error>();
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
fn whatever_names_a_url_converts_into_a_get_request() {
    const URL: &str = "https://example.com/a?b=c";
    let specs: [RequestSpec; 7] = [
        URL.into(),
        URL.to_owned().into(),
        Cow::Borrowed(URL).into(),
        Cow::<str>::Owned(URL.to_owned()).into(),
        Box::<str>::from(URL).into(),
        http::Uri::from_static(URL).into(),
        url::Url::parse(URL).unwrap().into(),
    ];
    for spec in specs {
        assert_eq!((spec.method().as_str(), spec.url()), ("GET", URL));
    }
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

    let spec = spec.timeout(None).max_body(None).save_to("file");
    assert_eq!(spec.time_limit(), Some(None));
    assert_eq!(spec.body_limit(), Some(None));
    assert_eq!(spec.save_path(), Some(Path::new("file")));

    let spec = spec.read_with(|_, _| Ok::<(), std::io::Error>(()));
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
