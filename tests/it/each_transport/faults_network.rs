//! Faults of the network and of the system, in network namespaces and processes of the tests' own.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use threaded::{ErrorKind, Outcome, Pool, RequestSpec};

use super::faults::{assert_kind, exception};
use super::pool;
use crate::support::process::{eventually, sockets};
use crate::support::raw::reset;
use crate::support::server::Server;
use crate::support::subprocess::{in_subprocess_with_file_limit, in_subprocess_with_network};

#[test]
fn a_place_that_no_way_leads_to() {
    let name = concat!(module_path!(), "::a_place_that_no_way_leads_to");
    let ways = [
        "ip route add unreachable 192.0.2.1/32",
        "ip route add prohibit 192.0.2.2/32",
        "ip route add blackhole 192.0.2.3/32",
    ];
    in_subprocess_with_network(name, &ways, || {
        // To the last one, the network has no way at all.
        for last in 1..=4 {
            for scheme in ["http", "https"] {
                let exception = exception(format!("{scheme}://192.0.2.{last}/"));
                assert!(exception.is_connect() && exception.is_retryable());
                assert_kind!(exception, Connect, sent: false);
            }
        }
    });
}

#[test]
fn a_proxy_that_no_way_leads_to() {
    let name = concat!(module_path!(), "::a_proxy_that_no_way_leads_to");
    in_subprocess_with_network(name, &["ip route add unreachable 192.0.2.1/32"], || {
        for scheme in ["http", "https"] {
            let spec = RequestSpec::post(format!("{scheme}://192.0.2.9/"));
            let exception = exception(spec.proxy("http://192.0.2.1:3128/"));
            assert_kind!(exception, Proxy, sent: false);
        }
    });
}

/// The outcomes of two requests, one while something is lacking and one when it is there again. The pool keeps its
/// connections as long as it lives: nothing comes back by and by while something else is to be used up.
fn outcomes_without_and_with<T>(
    url: &str,
    other: &Server,
    take_all: impl FnOnce() -> T,
) -> ([Outcome; 2], Pool) {
    let pool = pool()
        .concurrency(1)
        .build_from_urls([other.url("/")])
        .unwrap();
    let next = || loop {
        if let Ok(response) = pool.response_channel().try_recv() {
            return Ok(response);
        }
        if let Ok(exception) = pool.exception_channel().try_recv() {
            return Err(exception);
        }
        std::thread::yield_now();
    };
    // The session has been built, with all that it needs.
    assert!(next().is_ok());
    let taken = take_all();
    pool.submit(url).unwrap();
    let without = next();
    drop(taken);
    pool.submit(url).unwrap();
    let with = next();
    ([without, with], pool)
}

#[test]
fn no_local_port_that_is_left() {
    let name = concat!(module_path!(), "::no_local_port_that_is_left");
    let few = "echo 20000 20007 > /proc/sys/net/ipv4/ip_local_port_range";
    in_subprocess_with_network(name, &[few], || {
        let (server, other) = (Server::responding("fine"), Server::responding("first"));
        // Gives its ports back at once: closed in order, they would be taken for a while longer.
        struct Taken(Vec<TcpStream>);
        impl Drop for Taken {
            fn drop(&mut self) {
                self.0.drain(..).for_each(reset);
            }
        }
        let take_all = || {
            let mut taken = Taken(Vec::new());
            while let Ok(stream) = TcpStream::connect(server.address()) {
                taken.0.push(stream);
            }
            assert!((1..=8).contains(&taken.0.len()));
            taken
        };
        let ([without, with], _pool) =
            outcomes_without_and_with(&server.url("/"), &other, take_all);
        let exception = without.unwrap_err();
        assert!(exception.is_retryable() && !exception.is_connect());
        assert_kind!(exception, LocalResource, sent: false);
        assert_eq!(with.unwrap().text(), "fine");
    });
}

#[test]
fn no_file_descriptor_that_is_left() {
    let name = concat!(module_path!(), "::no_file_descriptor_that_is_left");
    in_subprocess_with_file_limit(name, 64, || {
        // Connections that are closed leave no descriptors that can be taken back from them.
        let closing = |text: &'static str| {
            Server::start(move |_| {
                let response = http::Response::builder().header("connection", "close");
                response.body(text.into()).unwrap()
            })
        };
        let (server, other) = (closing("fine"), closing("first"));
        // It has started when it has responded; until then, it needs files too.
        let mut first = TcpStream::connect(server.address()).unwrap();
        first
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        first.read_exact(&mut [0]).unwrap();
        let mut pools = Vec::new();
        let urls = [
            server.url("/"),
            format!("http://localhost:{}/", server.address().port()),
            format!("https://127.0.0.1:{}/", server.address().port()),
        ];
        for url in urls {
            let before = sockets();
            let take_all = || {
                eventually("the connection is closed on both sides", || {
                    sockets() <= before
                });
                let files = std::iter::repeat_with(|| File::open("/dev/null"));
                let taken: Vec<File> = files.map_while(Result::ok).collect();
                assert!((1..64).contains(&taken.len()));
                taken
            };
            let ([without, with], pool) = outcomes_without_and_with(&url, &other, take_all);
            pools.push(pool);
            let exception = without.unwrap_err();
            assert!(
                exception.is_retryable() && !exception.is_connect(),
                "{exception:?}"
            );
            assert_kind!(exception, LocalResource, sent: false);
            if url.starts_with("https") {
                assert_eq!(with.unwrap_err().kind(), ErrorKind::Tls)
            } else {
                assert_eq!(with.unwrap().text(), "fine")
            }
        }
    });
}

/// Makes the resolver use a name server at an address of this network, with the longest timeouts.
const ONE_NAME_SERVER: [&str; 2] = [
    r"printf 'nameserver 127.0.0.1\noptions timeout:30 attempts:5\n' > $THREADED_TEST_FOLDER/names",
    "mount --bind $THREADED_TEST_FOLDER/names /etc/resolv.conf",
];

#[test]
fn a_name_server_that_says_nothing() {
    let name = concat!(module_path!(), "::a_name_server_that_says_nothing");
    in_subprocess_with_network(name, &ONE_NAME_SERVER, || {
        let mute = UdpSocket::bind("127.0.0.1:53").unwrap();
        let _mute_too = TcpListener::bind("127.0.0.1:53").unwrap();
        let limit = Duration::from_millis(300);
        let started = Instant::now();
        for url in ["http://name.test/", "https://name.test/"] {
            let exception = exception(RequestSpec::post(url).body("x").timeout(limit));
            assert_eq!(exception.time_limit(), Some(limit), "{exception:?}");
            assert!(!exception.was_sent() && exception.is_retryable());
        }
        // It was asked.
        mute.set_nonblocking(true).unwrap();
        assert!(mute.recv(&mut [0; 512]).unwrap() > 0);

        let joined = pool().concurrency(4).timeout(limit).build().unwrap();
        for _ in 0..8 {
            joined.submit("http://name.test/").unwrap();
        }
        joined.join_all();
        assert_eq!(joined.exceptions().count(), 8);
        drop(joined);

        let dropped = pool().concurrency(4).timeout(None).build().unwrap();
        for _ in 0..8 {
            dropped.submit("http://name.test/").unwrap();
        }
        while mute.recv(&mut [0; 512]).is_err() {
            std::thread::yield_now();
        }
        drop(dropped);
        // The names alone would take minutes.
        assert!(started.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn a_name_server_that_is_not_there() {
    let name = concat!(module_path!(), "::a_name_server_that_is_not_there");
    // Whether or not the resolver learns that the port is closed, it gives up before the attempt times out.
    let impatient = ONE_NAME_SERVER[0].replace("timeout:30 attempts:5", "timeout:1 attempts:1");
    in_subprocess_with_network(name, &[&impatient, ONE_NAME_SERVER[1]], || {
        let exception = exception("http://name.test/");
        assert!(exception.is_connect() && exception.is_retryable());
        assert_kind!(exception, Dns, sent: false);
    });
}
