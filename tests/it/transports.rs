//! Transports that users write, wrap and test by themselves.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method};
use threaded::{
    AddressFilter, BoxError, Error, ErrorKind, Exchange, Pool, PoolBuilder, PoolError, RequestBody,
    RequestSpec, ResponseBody, Session, Transport, TransportBuilder, TransportOptions,
};
use url::Url;

use crate::support::framing::{Framing, raw_response};
use crate::support::pools::{outcomes_of, respond_ok};
use crate::support::raw::{RawServer, refused_address};
use crate::support::recording_server::{RecordingServer, values};

/// Adds a header to what another transport sends.
struct Signing<T>(T);

impl<T: Transport> Transport for Signing<T> {
    fn exchange(
        &mut self,
        mut exchange: Exchange<'_>,
    ) -> Result<http::Response<ResponseBody>, Error> {
        let signed = format!("{} {}", exchange.method(), exchange.url().path());
        let signature = HeaderValue::try_from(signed).unwrap();
        exchange.headers_mut().insert("x-signature", signature);
        self.0.exchange(exchange)
    }
}

struct SigningBuilder<B>(B);

impl<B: TransportBuilder<Transport: Transport>> TransportBuilder for SigningBuilder<B> {
    type Transport = Signing<B::Transport>;

    fn build(self, options: &TransportOptions) -> Result<Self::Transport, BoxError> {
        Ok(Signing(self.0.build(options)?))
    }
}

fn client() -> reqwest::blocking::ClientBuilder {
    reqwest::blocking::Client::builder().no_proxy()
}

fn signing() -> PoolBuilder<impl TransportBuilder + 'static> {
    Pool::builder().session(|| Session::new(SigningBuilder(client())))
}

#[test]
fn a_wrapping_transport_adds_a_header_to_each_exchange() {
    let server = RecordingServer::start(|request| match request.uri().path() {
        "/old" => crate::support::recording_server::redirect(307, "/new"),
        _ => http::Response::new("ok".into()),
    });
    let post = RequestSpec::post(server.url("/old")).body("content");
    let outcomes = outcomes_of(
        signing().initializer(|session| session.user_agent("my-scraper/0.1")),
        [post.header("X-Mine", "kept")],
    );
    assert_eq!(outcomes[0].as_ref().unwrap().text(), "ok");
    let received = server.received();
    let signatures: Vec<_> = received
        .iter()
        .map(|request| values(request, "x-signature").join(","))
        .collect();
    assert_eq!(signatures, ["POST /old", "POST /new"]);
    for request in &received {
        assert_eq!(values(request, "x-mine"), ["kept"]);
        assert_eq!(values(request, "user-agent"), ["my-scraper/0.1"]);
        assert_eq!(request.body(), "content");
    }
}

#[test]
fn a_wrapping_builder_passes_the_proxy_and_the_address_filter_on() {
    let server = RecordingServer::responding_ok();
    let proxy = RawServer::responding(raw_response(Framing::CloseDelimited, "", b"proxy"));
    let get = || RequestSpec::get(server.url("/"));
    let outcomes = outcomes_of(signing(), [get().proxy(proxy.url("/")), get()]);
    let texts: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap().text().into_owned())
        .collect();
    assert_eq!(texts, ["proxy", "ok"]);

    let by_name = server.url("/").replace("127.0.0.1", "localhost");
    let outcomes = outcomes_of(signing().public_addresses_only(true), [by_name]);
    let message = outcomes[0].as_ref().unwrap_err().to_string();
    assert!(message.contains("no public address"), "{message}");
    assert_eq!(server.received().len(), 1);
}

/// The builder of a transport that does not look at its options.
struct Careless;

impl TransportBuilder for Careless {
    type Transport = fn(Exchange<'_>) -> Result<http::Response<ResponseBody>, Error>;

    fn build(self, _: &TransportOptions) -> Result<Self::Transport, BoxError> {
        Ok(respond_ok)
    }
}

#[test]
fn a_builder_that_ignores_a_proxy_or_an_address_filter_builds_nothing_that_is_used() {
    let careless = || Pool::builder().session(|| Session::new(Careless));
    let get = || RequestSpec::get("http://stub.test/");
    for shared in [false, true] {
        let outcomes = outcomes_of(
            careless().share_session(shared),
            [get(), get().proxy("http://127.0.0.1:9/"), get()],
        );
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
        let exception = outcomes[1].as_ref().unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
        assert!(
            exception
                .to_string()
                .contains("cannot send through a proxy"),
            "{exception}"
        );
        assert!(!exception.was_sent());
    }
    let refused = careless().public_addresses_only(true).build().unwrap_err();
    assert!(matches!(refused, PoolError::Session(_)), "{refused:?}");
    assert!(
        refused
            .to_string()
            .contains("cannot be kept to public addresses"),
        "{refused}"
    );
}

#[test]
fn with_an_address_filter_a_request_that_names_a_proxy_builds_no_transport() {
    struct Filtering(Arc<AtomicUsize>);
    impl TransportBuilder for Filtering {
        type Transport = fn(Exchange<'_>) -> Result<http::Response<ResponseBody>, Error>;

        fn build(self, options: &TransportOptions) -> Result<Self::Transport, BoxError> {
            assert!(options.address_filter().is_some() && options.proxy().is_none());
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(respond_ok)
        }
    }

    let built = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&built);
    let builder = Pool::builder()
        .public_addresses_only(true)
        .session(move || Session::new(Filtering(Arc::clone(&counted))));
    let get = || RequestSpec::get("http://stub.test/");
    let outcomes = outcomes_of(builder, [get(), get().proxy("http://127.0.0.1:9/"), get()]);
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let exception = outcomes[1].as_ref().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    assert_eq!(built.load(Ordering::SeqCst), 1);
}

#[test]
fn what_a_builder_says_of_a_proxy_is_the_requests_error_and_all_else_the_sessions() {
    struct Choosy;
    impl TransportBuilder for Choosy {
        type Transport = fn(Exchange<'_>) -> Result<http::Response<ResponseBody>, Error>;

        fn build(self, options: &TransportOptions) -> Result<Self::Transport, BoxError> {
            match options.proxy().and_then(Url::port) {
                None => Ok(respond_ok),
                Some(1) => Err(Error::invalid_request("port 1 is reserved").into()),
                Some(_) => Err("out of memory".into()),
            }
        }
    }

    let builder = Pool::builder().session(|| Session::new(Choosy));
    let get = RequestSpec::get("http://stub.test/");
    let proxies = ["http://127.0.0.1:1/", "http://127.0.0.1:2/"];
    let outcomes = outcomes_of(builder, proxies.map(|proxy| get.clone().proxy(proxy)));
    let errors = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap_err().error())
        .map(|error| (error.kind(), error.to_string()));
    let expected = [
        (
            ErrorKind::InvalidRequest,
            "invalid request: port 1 is reserved",
        ),
        (
            ErrorKind::Session,
            "the worker has no session: transport: out of memory",
        ),
    ];
    for (error, (kind, message)) in errors.zip(expected) {
        assert_eq!(error, (kind, message.to_owned()));
    }
}

#[test]
fn a_transport_can_be_tried_without_a_pool() {
    let server = RecordingServer::start(|_| http::Response::new("pong".into()));
    let mut transport = TransportBuilder::build(client(), &TransportOptions::default()).unwrap();
    let url = Url::parse(&server.url("/ping?q=1")).unwrap();
    let body = RequestBody::from("ping");
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut exchange = Exchange::new(&Method::PUT, &url)
        .with_body(&body)
        .with_deadline(deadline);
    let accept = HeaderValue::from_static("text/plain");
    exchange.headers_mut().insert("accept", accept);
    assert_eq!(exchange.method(), Method::PUT);
    assert_eq!(exchange.url(), &url);
    assert_eq!(exchange.deadline(), Some(deadline));
    assert_eq!(exchange.stall_timeout(), None);
    assert!(exchange.timeout().unwrap() <= Duration::from_secs(20));

    // An exchange can be sent again, and says nothing secret of itself.
    for exchange in [exchange.clone(), exchange] {
        let response = transport.exchange(exchange).unwrap();
        assert_eq!(response.status(), 200);
        let text = io::read_to_string(response.into_body()).unwrap();
        assert_eq!(text, "pong");
    }
    for request in server.received() {
        assert_eq!(
            (request.method(), request.uri().path()),
            (&Method::PUT, "/ping")
        );
        assert_eq!(values(&request, "accept"), ["text/plain"]);
        assert_eq!(values(&request, "content-length"), ["4"]);
        assert_eq!(request.body(), "ping");
    }

    let refused = Url::parse(&format!("http://{}/", refused_address())).unwrap();
    let exchange =
        Exchange::new(&Method::GET, &refused).with_stall_timeout(Duration::from_secs(20));
    assert_eq!(exchange.stall_timeout(), Some(Duration::from_secs(20)));
    assert_eq!((exchange.deadline(), exchange.timeout()), (None, None));
    assert!(exchange.body().is_none() && exchange.headers().is_empty());
    let error = transport.exchange(exchange).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
    assert!(!error.was_sent());
}

#[test]
fn a_wrapping_transport_can_be_tried_without_a_network() {
    let echo = |exchange: Exchange<'_>| {
        let mut response = http::Response::new(ResponseBody::empty());
        *response.headers_mut() = exchange.headers().clone();
        Ok(response)
    };
    let url = Url::parse("http://stub.test/page").unwrap();
    let mut exchange = Exchange::new(&Method::GET, &url);
    exchange
        .headers_mut()
        .insert("a", HeaderValue::from_static("1"));
    let response = Signing(echo).exchange(exchange).unwrap();
    let mut expected = HeaderMap::new();
    expected.insert("a", HeaderValue::from_static("1"));
    expected.insert("x-signature", HeaderValue::from_static("GET /page"));
    assert_eq!(*response.headers(), expected);
}

#[test]
fn transports_as_their_own_builders_refuse_what_they_cannot_be_told() {
    let proxy = Url::parse("http://user:s3cr3t@127.0.0.1:9/").unwrap();
    let options = TransportOptions::default;
    let prebuilt = TransportBuilder::build(client(), &options()).unwrap();
    for (refused, reason) in [
        (
            options().with_proxy(proxy.clone()),
            "cannot send through a proxy",
        ),
        (
            options().with_address_filter(AddressFilter::default()),
            "cannot be kept to public addresses",
        ),
    ] {
        // Whether they were looked at is no excuse for a transport that exists already.
        let _ = (refused.proxy(), refused.address_filter());
        for error in [
            respond_ok.build(&refused).err().unwrap(),
            prebuilt.clone().build(&refused).err().unwrap(),
        ] {
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
    assert!(
        respond_ok
            .build(&options().with_stall_timeout(Duration::from_secs(1)))
            .is_ok()
    );

    let options = options().with_proxy(proxy.clone());
    assert_eq!(options.clone().proxy(), Some(&proxy));
    let printed = format!("{options:?}");
    assert!(
        printed.contains("127.0.0.1:9") && !printed.contains("s3cr3t") && !printed.contains("user"),
        "{printed}"
    );
}

/// As a signal does.
struct Interrupted(bool);

impl io::Read for Interrupted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 = !self.0;
        match buffer.first_mut() {
            _ if self.0 => Err(io::ErrorKind::Interrupted.into()),
            Some(byte) => {
                *byte = b'a';
                Ok(1)
            }
            None => Ok(0),
        }
    }
}

#[test]
fn a_body_whose_reader_is_interrupted_goes_on() {
    let transport = |_: Exchange<'_>| {
        let reader = io::Read::take(Interrupted(false), 5);
        Ok::<_, Error>(http::Response::new(ResponseBody::from_reader(reader)))
    };
    let builder = Pool::builder().session(move || Session::new(transport));
    let response = outcomes_of(builder, ["http://test/"]).remove(0).unwrap();
    assert_eq!(response.text(), "aaaaa");
}
