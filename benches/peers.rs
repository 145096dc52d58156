//! How the pool compares with other ways to fetch the same URLs: `cargo bench --bench peers --features ureq`.
//!
//! A server process answers; each contender runs in a process of its own, all of them in turn, several rounds long. What
//! counts are the medians, and ratios of figures from one round. Prints a Markdown table, and draws the ratios into
//! `benches/peers.svg`. Needs Linux, which tells a process what it has used.

#[path = "peers/contenders.rs"]
mod contenders;
#[path = "peers/figures.rs"]
mod figures;
#[path = "peers/picture.rs"]
mod picture;
#[path = "../tests/support/process.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod process;
#[path = "peers/server.rs"]
mod server;
#[path = "peers/works.rs"]
mod works;

use std::path::Path;
use std::process::Command;

use contenders::CONTENDERS;
use figures::{Figures, Table};
use server::ServerProcess;
use works::{Task, WORKS};

const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", certificate, key] => server::serve(certificate, key),
        ["contend", contender, ref task @ ..] => contend(contender, task),
        _ => compare(arguments.iter().any(|argument| argument == "--test")),
    }
}

fn compare(is_test: bool) {
    let only = std::env::var("PEERS_WORK").ok();
    let works = WORKS
        .iter()
        .filter(|work| only.as_ref().is_none_or(|only| work.name.contains(only)));
    let server = ServerProcess::start();
    let mut table = Table::default();
    for work in works {
        eprintln!("{}", work.name);
        for round in 0..if is_test { 1 } else { ROUNDS } {
            for contender in CONTENDERS {
                if !contender.takes(work) {
                    continue;
                }
                let figures = measured(contender.name, &server.task(work, is_test));
                eprintln!("  round {round}: {:<28} {figures}", contender.name);
                table.add(work, contender, figures);
            }
        }
    }
    println!("{}", table.markdown());
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers.svg");
    if !is_test && only.is_none() {
        std::fs::write(&picture, picture::of(&table)).expect("the picture can be written");
        eprintln!("drawn into {}", picture.display());
    }
}

/// What a contender needs for a task, in a process of its own.
fn measured(contender: &str, task: &Task) -> Figures {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["contend", contender])
        .args(task.to_arguments())
        .output()
        .expect("a process");
    assert!(
        output.status.success(),
        "{contender}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Figures::parse(&String::from_utf8_lossy(&output.stdout)).expect("figures")
}

fn contend(name: &str, task: &[&str]) {
    let contender = CONTENDERS
        .iter()
        .find(|contender| contender.name == name)
        .expect("the name of a contender");
    let task = Task::from_arguments(task).expect("a task");
    print!("{}", figures::take(&task, || (contender.run)(&task)));
}
