//! How the pool compares with other ways to fetch the same URLs: `cargo bench --bench peers --features ureq`.
//!
//! The server runs in a process of its own, and so does each contender, all of them in turn for several rounds. The results
//! are medians over the rounds, of speeds and of ratios within a round. Prints Markdown tables, and draws the ratios into
//! `benches/peers.svg`. `PEERS_WORKLOAD` selects workloads by a part of their names. Linux only: reads `/proc`.
//! The largest workload needs a limit of 15,000 open files for each process (`ulimit -n`).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run panics"
)]

#[path = "peers/chart.rs"]
mod chart;
#[path = "peers/contenders.rs"]
mod contenders;
#[path = "peers/epoll.rs"]
mod epoll;
#[path = "peers/measurements.rs"]
mod measurements;
#[path = "../tests/support/process.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod process;
#[path = "peers/responder.rs"]
mod responder;
#[path = "peers/server.rs"]
mod server;
#[path = "peers/workloads.rs"]
mod workloads;

use std::path::Path;
use std::process::Command;

use contenders::CONTENDERS;
use measurements::{Measurement, Table};
use server::ServerProcess;
use workloads::{Task, WORKLOADS};

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
    let only = std::env::var("PEERS_WORKLOAD").ok();
    let workloads = WORKLOADS.iter().filter(|workload| {
        only.as_ref()
            .is_none_or(|only| workload.name.contains(only))
    });
    let server = ServerProcess::start();
    let mut table = Table::default();
    for workload in workloads {
        eprintln!("{}", workload.name);
        for round in 0..if is_test { 1 } else { ROUNDS } {
            for contender in CONTENDERS {
                if !contender.takes(workload) {
                    continue;
                }
                let measurement =
                    run_in_subprocess(contender.name, &server.task(workload, is_test));
                eprintln!("  round {round}: {:<29} {measurement}", contender.name);
                table.add(workload, contender, measurement);
            }
        }
    }
    println!("{}", table.markdown());
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers.svg");
    if !is_test && only.is_none() {
        std::fs::write(&chart, chart::svg(&table)).expect("the chart can be written");
        eprintln!("chart: {}", chart.display());
    }
}

/// Runs a contender in a process of its own and returns its measurement.
fn run_in_subprocess(contender: &str, task: &Task) -> Measurement {
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
    Measurement::parse(&String::from_utf8_lossy(&output.stdout)).expect("a measurement")
}

fn contend(name: &str, task: &[&str]) {
    let contender = CONTENDERS
        .iter()
        .find(|contender| contender.name == name)
        .expect("the name of a contender");
    let task = Task::from_arguments(task).expect("a task");
    print!(
        "{}",
        measurements::measure(&task, || (contender.run)(&task))
    );
}
