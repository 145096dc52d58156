//! Each worker sets up its session once: headers by the initializer, then credentials by the auth generator.

#![allow(clippy::unwrap_used, reason = "the response is valid")]

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::sync::atomic::{AtomicU32, Ordering};

use server::Server;
use threaded::{BoxError, Pool, RequestSpec, user_agent};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(|request| {
        let authorization = request.headers().get("authorization");
        match authorization.and_then(|value| value.to_str().ok()) {
            Some(credentials) => http::Response::new(format!("hello, {credentials}").into()),
            None => http::Response::builder()
                .status(401)
                .body("who is it?".into())
                .unwrap(),
        }
    });

    let tokens = AtomicU32::new(0);
    let (responses, exceptions) = Pool::builder()
        .num_threads(3)
        .initializer(|session| {
            session
                .user_agent(user_agent("auth-example", "1.0"))
                .header("Accept", "application/json")
        })
        // It may fail: then `map` returns the error instead of starting.
        .try_auth_generator(move |session| {
            let token = request_token(tokens.fetch_add(1, Ordering::Relaxed))?;
            Ok(session.bearer_auth(token))
        })
        .map([
            RequestSpec::get(server.url("/1")),
            RequestSpec::get(server.url("/2")),
            // What a request brings along takes precedence.
            RequestSpec::get(server.url("/3")).basic_auth("Aladdin", Some("open sesame")),
        ])?;

    for response in responses {
        println!(
            "{} {}: {}",
            response.status(),
            response.request().url(),
            response.text()
        );
    }
    assert_eq!(exceptions.count(), 0);
    Ok(())
}

/// Stands for a call to some authorization server.
fn request_token(worker: u32) -> Result<String, BoxError> {
    Ok(format!("token-{worker}"))
}
