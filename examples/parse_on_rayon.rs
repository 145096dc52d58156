//! Fetching on the pool, parsing on rayon: each has as many threads as its work needs, and no more pages are fetched ahead than
//! the window holds.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::collections::HashMap;

use rayon::prelude::*;
use server::Server;
use threaded::Pool;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(|request| {
        let text = format!("this is page {}; ", request.uri().path());
        http::Response::new(text.repeat(1_000).into())
    });
    let urls = (0..1_000).map(|page| server.url(&format!("/{page}")));

    let counts = Pool::builder()
        .concurrency(16)
        .imap_unordered(urls)?
        .par_bridge()
        .flatten()
        .map(|response| letters(&response.text()))
        .reduce(HashMap::new, |mut all, page| {
            for (letter, count) in page {
                *all.entry(letter).or_default() += count;
            }
            all
        });
    let mut counts: Vec<(char, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    println!("{counts:?}");
    Ok(())
}

/// The part that takes CPU time.
fn letters(text: &str) -> HashMap<char, usize> {
    let mut counts = HashMap::new();
    for letter in text.chars() {
        *counts.entry(letter).or_default() += 1;
    }
    counts
}
