//! Measurements of contenders, and tables of their medians over the rounds.

use std::fmt::{self, Write};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use super::contenders::*;
use super::process::peak_kib;
use super::workloads::{Metric, Task, WORKLOADS, Workload};

/// The measurement of one process.
#[derive(Clone, Copy)]
pub(crate) struct Measurement {
    /// Requests for each second.
    pub(crate) speed: f64,
    /// CPU time (user and system) for each request, in µs.
    pub(crate) cpu: f64,
    /// Peak resident memory, in MB.
    pub(crate) memory: f64,
    /// Time to the first response, in ms.
    pub(crate) first: f64,
}

/// Runs a task and measures this process.
pub(crate) fn measure(task: &Task, run: impl FnOnce() -> Instant) -> Measurement {
    let cpu_before = cpu_seconds();
    let started = Instant::now();
    let first = run();
    let taken = started.elapsed().as_secs_f64();
    let requests = task.requests as f64;
    Measurement {
        speed: requests / taken,
        cpu: (cpu_seconds() - cpu_before) * 1e6 / requests,
        memory: peak_kib() as f64 / 1024.0 * 1.048_576,
        first: (first - started).as_secs_f64() * 1e3,
    }
}

/// User and system time of all threads of this process, past and present.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            speed,
            cpu,
            memory,
            first,
        } = self;
        write!(
            f,
            "{speed:.0} requests/s, {cpu:.1} µs, {memory:.1} MB, {first:.1} ms"
        )
    }
}

impl Measurement {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text
            .split(", ")
            .map(|part| part.split(' ').next()?.parse().ok());
        let mut next = || numbers.next()?;
        Some(Self {
            speed: next()?,
            cpu: next()?,
            memory: next()?,
            first: next()?,
        })
    }
}

/// The measurements of all rounds.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

struct Row {
    workload: &'static Workload,
    contender: &'static Contender,
    measurement: Measurement,
}

/// Pairs of contenders whose speeds are compared.
const PAIRS: [(&str, &str); 6] = [
    (POOL_ON_HYPER, ASYNC_MULTI),
    (POOL_ON_HYPER, POOL_ON_UREQ),
    (POOL_ON_HYPER, RAW_EPOLL),
    (POOL_ON_REQWEST, THREADS_ON_REQWEST),
    (POOL_ON_SHARED, RAYON),
    (POOL_ON_UREQ, THREADS_ON_UREQ),
];

impl Table {
    pub(crate) fn add(
        &mut self,
        workload: &'static Workload,
        contender: &'static Contender,
        measurement: Measurement,
    ) {
        self.0.push(Row {
            workload,
            contender,
            measurement,
        });
    }

    fn rounds(&self, workload: &Workload, contender: &str) -> Vec<&Measurement> {
        let rows = self.0.iter();
        rows.filter(|row| row.workload.name == workload.name && row.contender.name == contender)
            .map(|row| &row.measurement)
            .collect()
    }

    fn figure(
        &self,
        workload: &Workload,
        contender: &str,
        which: fn(&Measurement) -> f64,
    ) -> Option<f64> {
        let rounds = self.rounds(workload, contender);
        median(rounds.into_iter().map(which).collect())
    }

    /// The median over the rounds of the ratio of two speeds.
    pub(crate) fn ratio(&self, workload: &Workload, ours: &str, theirs: &str) -> Option<f64> {
        let merit: fn(&Measurement) -> f64 = match workload.metric {
            Metric::Speed => |measurement| measurement.speed,
            Metric::FirstResponse => |measurement| 1.0 / measurement.first,
        };
        self.ratio_of(workload, ours, theirs, merit)
    }

    fn ratio_of(
        &self,
        workload: &Workload,
        ours: &str,
        theirs: &str,
        which: fn(&Measurement) -> f64,
    ) -> Option<f64> {
        let (ours, theirs) = (self.rounds(workload, ours), self.rounds(workload, theirs));
        let ratios = ours.iter().zip(theirs);
        let ratios = ratios.map(|(ours, theirs)| which(ours) / which(theirs));
        median(ratios.collect())
    }

    /// The workloads that were run, in their order.
    pub(crate) fn workloads(&self) -> Vec<&'static Workload> {
        WORKLOADS
            .iter()
            .filter(|workload| self.0.iter().any(|row| row.workload.name == workload.name))
            .collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let names: Vec<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
        let mut text = String::new();
        let figures = names.iter().map(|name| {
            let cell = |workload: &Workload| self.cell(workload, name);
            self.row(name, cell)
        });
        self.write(&mut text, "k/s (µs), MB", figures);
        let speeds = names.iter().map(|name| {
            let ratio = |workload: &Workload| two_digits(self.ratio(workload, name, REFERENCE));
            self.row(name, ratio)
        });
        self.write(&mut text, &format!("speed ÷ {REFERENCE}"), speeds);
        let cpu_times = names.iter().map(|name| {
            let ratio = |workload: &Workload| {
                two_digits(self.ratio_of(workload, name, REFERENCE, |measurement| measurement.cpu))
            };
            self.row(name, ratio)
        });
        self.write(&mut text, &format!("CPU time ÷ {REFERENCE}"), cpu_times);
        let pairs = PAIRS.iter().map(|(ours, theirs)| {
            let ratio = |workload: &Workload| two_digits(self.ratio(workload, ours, theirs));
            self.row(&format!("{ours} ÷ {theirs}"), ratio)
        });
        self.write(&mut text, "speed ÷ speed", pairs);
        text
    }

    /// A row with a cell for each workload.
    fn row(&self, name: &str, cell: impl Fn(&Workload) -> String) -> (String, Vec<String>) {
        let cells = self.workloads().into_iter().map(cell).collect();
        (name.to_owned(), cells)
    }

    /// Writes a table, after an empty line unless it is the first one.
    fn write(
        &self,
        text: &mut String,
        title: &str,
        rows: impl Iterator<Item = (String, Vec<String>)>,
    ) {
        let workloads: Vec<&str> = self
            .workloads()
            .iter()
            .map(|workload| workload.name)
            .collect();
        let rule = "---|".repeat(workloads.len());
        if !text.is_empty() {
            text.push('\n');
        }
        let mut line = |name: &str, cells: &str| {
            writeln!(text, "| {name} | {cells} |").expect("writing to a string cannot fail");
        };
        line(title, &workloads.join(" | "));
        line("---", rule.trim_end_matches('|'));
        for (name, cells) in rows {
            line(&name, &cells.join(" | "));
        }
    }

    fn cell(&self, workload: &Workload, contender: &str) -> String {
        let figure = |which| self.figure(workload, contender, which);
        let (Some(speed), Some(cpu), Some(memory), Some(first)) = (
            figure(|measurement| measurement.speed),
            figure(|measurement| measurement.cpu),
            figure(|measurement| measurement.memory),
            figure(|measurement| measurement.first),
        ) else {
            return "–".to_owned();
        };
        match workload.metric {
            Metric::FirstResponse => format!("{first:.1} ms ({cpu:.0}), {memory:.0} MB"),
            Metric::Speed => format!("{:.1} ({cpu:.1}), {memory:.0} MB", speed / 1e3),
        }
    }
}

fn two_digits(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
