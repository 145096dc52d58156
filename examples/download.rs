//! Large bodies go to files, each of which has its name only when it is complete.
//!
//! Fetches 20 files of 5 MiB from a small server of its own into a folder that it removes at the end.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use indicatif::{ProgressBar, ProgressStyle};
use server::Server;
use threaded::{Pool, RequestSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: u64 = 20;
    const SIZE: u64 = 5 << 20;

    let server = Server::responding(vec![b'x'; SIZE as usize]);
    let folder = tempfile::tempdir()?;
    let files = (1..=FILES).map(|number| {
        let target = folder.path().join(format!("{number}.bin"));
        RequestSpec::get(server.url(&format!("/{number}"))).save_to(target)
    });

    let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let bar = ProgressBar::new(FILES * SIZE).with_style(ProgressStyle::with_template(style)?);
    for outcome in Pool::builder().num_threads(4).build_from_requests(files)? {
        match outcome {
            Ok(response) => match response.saved_to() {
                Some(path) => bar.inc(path.metadata()?.len()),
                // Error pages are not saved.
                None => bar.println(format!("{} {}", response.status(), response.url())),
            },
            Err(exception) => bar.println(exception.to_string()),
        }
    }
    bar.finish();
    println!("{} files saved", std::fs::read_dir(folder.path())?.count());
    Ok(())
}
