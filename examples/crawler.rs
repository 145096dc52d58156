//! Follows the links of a small site that it serves itself. What the loop submits through the handle is part of the pool's
//! work, so the crawl ends by itself when there is nothing new.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::collections::HashSet;

use server::Server;
use threaded::Pool;
use threaded::url::Url;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Page n links to 2n, 2n + 1 and back to the first one.
    let server = Server::start(|request| {
        let page: u32 = request
            .uri()
            .path()
            .trim_start_matches('/')
            .parse()
            .unwrap_or(1);
        let links = [2 * page, 2 * page + 1, 1].map(|link| format!("<a href=\"/{link}\">"));
        http::Response::new(
            if page < 500 {
                links.concat()
            } else {
                String::new()
            }
            .into(),
        )
    });
    let start = server.url("/1");

    let pool = Pool::builder().num_threads(8).build_from_urls([&start])?;
    let handle = pool.handle();
    let mut seen = HashSet::from([start]);
    let mut pages = 0;
    for outcome in pool {
        let response = match outcome {
            Ok(response) => response,
            Err(exception) => {
                eprintln!("{exception}");
                continue;
            }
        };
        pages += 1;
        for link in links(response.url(), &response.text()) {
            if seen.insert(link.clone()) {
                handle.submit(link)?;
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
