//! Testing code that fetches without a network: a closure is a transport, and so is a small struct.

use std::collections::HashMap;

use threaded::{
    Error, Exchange, Pool, PoolBuilder, ResponseBody, Session, Transport, TransportBuilder,
};

/// The code under test. It leaves the transport to its caller.
fn titles<B>(builder: PoolBuilder<B>, urls: &[&str]) -> Result<Vec<String>, threaded::PoolError>
where
    B: TransportBuilder + 'static,
{
    let (responses, _) = builder.map(urls.iter().copied())?;
    let mut titles: Vec<String> = responses
        .filter_map(|response| response.text().lines().next().map(str::to_owned))
        .collect();
    titles.sort();
    Ok(titles)
}

/// Responds from a table; all other URLs cannot be reached.
#[derive(Clone)]
struct Pages(HashMap<&'static str, &'static str>);

impl Transport for Pages {
    fn exchange(&mut self, exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
        match self.0.get(exchange.url().path()) {
            Some(page) => Ok(http::Response::new(ResponseBody::from(*page))),
            None => Err(Error::connect("no server listens there")),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let urls = [
        "http://books.test/1",
        "http://books.test/2",
        "http://books.test/3",
    ];

    let echo = |exchange: Exchange<'_>| {
        let title = format!("page {}\n…", exchange.url().path());
        Ok(http::Response::new(ResponseBody::from(title)))
    };
    let builder = Pool::builder().session(move || Session::new(echo));
    assert_eq!(titles(builder, &urls)?, ["page /1", "page /2", "page /3"]);

    let pages = Pages(HashMap::from([("/1", "Emma\n…"), ("/3", "Persuasion\n…")]));
    let builder = Pool::builder().session(move || Session::new(pages.clone()));
    assert_eq!(titles(builder, &urls)?, ["Emma", "Persuasion"]);

    println!("fetched {} pages without a network, twice", urls.len());
    Ok(())
}
