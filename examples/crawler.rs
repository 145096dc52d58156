//! A crawl in bounded memory: follows the links of a small site that it serves itself, up to a depth, each page once.
//!
//! The input of `imap_unordered` is a work list that grows from the outcomes. It is asked again as long as requests are in
//! flight, so the crawl ends by itself when there is nothing new.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};

use server::Server;
use threaded::url::Url;
use threaded::{Pool, RequestSpec};

const MAX_DEPTH: Depth = Depth(7);

/// How many links away from the first page. It travels with the request and comes back with its outcome.
#[derive(Clone, Copy, PartialEq)]
struct Depth(u32);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Page n links to 2n, 2n + 1 and back to the first one.
    let server = Server::start(|request| {
        let path = request.uri().path().trim_start_matches('/');
        let page: u32 = path.parse().unwrap_or(1);
        let links = [2 * page, 2 * page + 1, 1].map(|link| format!("<a href=\"/{link}\">"));
        http::Response::new(links.concat().into())
    });
    let start = server.url("/1");

    let mut seen = HashSet::from([start.clone()]);
    let first = RequestSpec::get(start).extension(Depth(0));
    let to_visit = RefCell::new(VecDeque::from([first]));
    let input = std::iter::from_fn(|| to_visit.borrow_mut().pop_front());
    let mut pages = 0;
    for outcome in Pool::builder().concurrency(8).imap_unordered(input)? {
        let response = match outcome {
            Ok(response) => response,
            Err(exception) => {
                eprintln!("{exception}");
                continue;
            }
        };
        pages += 1;
        let extensions = response.request().extensions();
        let depth = extensions.get::<Depth>().copied().unwrap_or(Depth(0));
        if depth == MAX_DEPTH {
            continue;
        }
        for link in links(response.url(), &response.text()) {
            if seen.insert(link.clone()) {
                let request = RequestSpec::get(link).extension(Depth(depth.0 + 1));
                to_visit.borrow_mut().push_back(request);
            }
        }
    }
    println!(
        "{pages} pages, each fetched once; the server saw {} requests",
        server.requests()
    );
    Ok(())
}

/// The places that a page links to. A real crawler would use an HTML parser.
fn links(page: &Url, html: &str) -> Vec<String> {
    html.split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter_map(|link| page.join(link).ok())
        .map(String::from)
        .collect()
}
