//! A command-line fetcher: requests in, one a line, and outcomes out as JSON lines, in constant memory.
//!
//! ```text
//! fetch [OPTIONS] (URL | FILE | -)...
//!
//! Each line of a FILE, or of the standard input (-), is a URL, or a request as JSON:
//!     {"url": "https://example.com/items", "method": "POST", "body": {"utf8": "content"}, "tag": 17}
//!
//!     --concurrency N       at most N requests in flight (64)
//!     --rate N              at most N requests per second to each origin
//!     --retry N             up to N more attempts after transient failures
//!     --timeout SECONDS     for each attempt (30)
//!     --error-for-status    a response with a 4xx or 5xx is a failure
//!     --no-body             leaves the bodies of the responses out
//!     --journal FILE        keeps the run in this file: if it is killed, the same command goes on where it was
//!     --redis URL           keeps the run on this server: the same command on other machines shares the work
//!     --queue NAME          the name of the run on the server (fetch)
//! ```
//!
//! With `--journal` or `--redis`, equal lines are one request.
//!
//! Outcomes go to the standard output in the order in which they arrive, complaints and a progress bar to the standard error.
//! The exit code is 1 if anything has failed: a request, or a line that is no request. Without arguments it fetches from a
//! small server that it starts itself.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::cell::Cell;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use server::Server;
use threaded::queue::{Job, Journal, Queue, RedisQueue};
use threaded::{
    HyperBuilder, Limits, Outcome, Pool, PoolBuilder, RequestSpec, Retry, Session, jsonl,
};

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} failed");
            ExitCode::FAILURE
        }
        // The reader of the output has seen enough.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fetch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

struct Options {
    builder: PoolBuilder<HyperBuilder>,
    inputs: Vec<String>,
    with_body: bool,
    queue: Option<Queue>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut builder = Pool::builder().session(Session::hyper).concurrency(64);
    let (mut inputs, mut with_body) = (Vec::new(), true);
    let (mut journal, mut redis, mut name) = (None, None, "fetch".to_owned());
    while let Some(argument) = arguments.next() {
        if let "--journal" | "--redis" | "--queue" = &*argument {
            let value = arguments.next();
            let value = value.ok_or(format!("{argument} needs a value"))?;
            match &*argument {
                "--journal" => journal = Some(value),
                "--redis" => redis = Some(value),
                _ => name = value,
            }
            continue;
        }
        let mut number = || {
            let number = arguments.next().and_then(|number| number.parse().ok());
            number.ok_or(format!("{argument} needs a number"))
        };
        builder = match &*argument {
            "--concurrency" => builder.concurrency(number()? as usize),
            "--rate" => {
                let rate = number()?;
                builder.limits(Limits::new().rate_per_origin(rate, rate.ceil() as u32))
            }
            "--retry" => builder.retry(Retry::new(number()? as u32)),
            "--timeout" => builder.timeout(Duration::try_from_secs_f64(number()?)?),
            "--error-for-status" => builder.error_for_status(true),
            "--no-body" => {
                with_body = false;
                builder
            }
            option if option.starts_with("--") => {
                return Err(format!("there is no option {option}").into());
            }
            _ => {
                inputs.push(argument);
                builder
            }
        };
    }
    let queue = match (journal, redis) {
        (Some(_), Some(_)) => return Err("take either --journal or --redis".into()),
        (Some(path), None) => Some(Journal::open(path)?),
        (None, Some(url)) => Some(RedisQueue::open(url, name)?),
        (None, None) => None,
    };
    Ok(Options {
        builder,
        inputs,
        with_body,
        queue,
    })
}

type Specs = Box<dyn Iterator<Item = Result<RequestSpec, String>>>;

/// The requests of one input.
fn specs(input: String) -> Specs {
    let reader: Box<dyn BufRead> = match &*input {
        url if url.contains("://") => return Box::new([Ok(RequestSpec::get(url))].into_iter()),
        "-" => Box::new(io::stdin().lock()),
        file => match File::open(file) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) => return Box::new([Err(format!("{input}: {error}"))].into_iter()),
        },
    };
    // A URL needs no quotes.
    let lines = reader.lines().zip(1..).map(move |(line, number)| {
        let line = line.map_err(|error| format!("{input}: line {number}: {error}"))?;
        match line.trim() {
            "" => Ok(None),
            json if json.starts_with(['{', '"']) => {
                let spec = jsonl::read(json.as_bytes()).next().transpose();
                spec.map_err(|error| {
                    let error = error.to_string();
                    let error = error.strip_prefix("line 1, ").unwrap_or(&error);
                    format!("{input}: line {number}, {error}")
                })
            }
            url => Ok(Some(RequestSpec::get(url))),
        }
    });
    Box::new(lines.filter_map(Result::transpose))
}

/// Returns how many have failed.
fn run() -> Result<u64, Box<dyn Error>> {
    let options = parse(std::env::args().skip(1))?;
    let server = options
        .inputs
        .is_empty()
        .then(|| Server::responding("hello"));
    let inputs = match &server {
        Some(server) => (1..=5)
            .map(|page| server.url(&format!("/{page}")))
            .collect(),
        None => options.inputs,
    };

    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{spinner} {pos} done, {per_sec}, {msg} failed, {elapsed}",
    )?);
    if !io::stderr().is_terminal() || io::stdout().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.set_message("0");
    let failed = Rc::new(Cell::new(0));
    let count_failure = {
        let (failed, bar) = (Rc::clone(&failed), bar.clone());
        move |complaint: &str| {
            failed.set(failed.get() + 1);
            bar.set_message(failed.get().to_string());
            bar.suspend(|| eprintln!("{complaint}"));
        }
    };

    let complain = count_failure.clone();
    let specs = inputs
        .into_iter()
        .flat_map(specs)
        .filter_map(move |spec| spec.inspect_err(|complaint| complain(complaint)).ok());
    let mut out = BufWriter::new(io::stdout().lock());
    let write = |out: &mut BufWriter<_>, outcome: &Outcome| {
        if let Err(exception) = outcome {
            count_failure(&exception.to_string());
        }
        bar.inc(1);
        if options.with_body {
            jsonl::write(out, outcome)
        } else {
            jsonl::write_without_body(out, outcome)
        }
    };
    let Some(queue) = options.queue else {
        for outcome in options.builder.imap_unordered(specs)? {
            write(&mut out, &outcome)?;
        }
        out.flush()?;
        bar.finish_and_clear();
        return Ok(failed.get());
    };
    // The request itself is the id: what was submitted by a run before is known.
    queue.submit_all(specs.map(|spec| {
        let id = serde_json::to_string(&spec).unwrap_or_else(|_| spec.url().to_owned());
        Job::new(id, spec)
    }))?;
    queue.close()?;
    for delivery in options.builder.deliveries(&queue)? {
        let delivery = delivery?;
        write(&mut out, delivery.outcome())?;
        // What is acknowledged is not written again, so it has to be out before.
        out.flush()?;
        delivery.ack_soon();
    }
    for dead in queue.dead()? {
        let id = dead.job_id().unwrap_or("the queue");
        count_failure(&format!("{id}: {}", dead.reason()));
    }
    bar.finish_and_clear();
    Ok(failed.get())
}
