//! The same pool under an async runtime: a `JobHandle` is a future, so a handler awaits the response to its own request
//! without blocking the runtime. It works in a handler of axum or any other framework as it does here on plain tokio.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::sync::Arc;
use std::time::Duration;

use server::Server;
use threaded::{Pool, RequestSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let backend = Server::responding("hello from the backend");
    let url: Arc<str> = backend.url("/").into();
    // Building a pool waits for its first worker, so it is done on a thread that may block.
    let build = || Pool::builder().concurrency(16).build();
    let pool = Arc::new(tokio::task::spawn_blocking(build).await??);

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&pool), Arc::clone(&url)));
        }
    });

    let clients: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                Ok::<_, std::io::Error>(answer)
            })
        })
        .collect();
    let mut answered = 0;
    for client in clients {
        answered += usize::from(client.await?? == "200 OK: hello from the backend");
    }
    println!("{answered} clients were answered");
    Ok(())
}

async fn serve(mut stream: TcpStream, pool: Arc<Pool>, url: Arc<str>) -> Result<()> {
    let request = RequestSpec::get(&*url).timeout(Duration::from_secs(5));
    // If this task is dropped, the job is not wanted any more.
    let answer = match pool.spawn(request)?.cancel_on_drop().await {
        Ok(response) => format!("{}: {}", response.status(), response.text()),
        Err(exception) => exception.to_string(),
    };
    stream.write_all(answer.as_bytes()).await?;
    Ok(())
}
