//! What a contender needs for a task, and what comes of that over the rounds.

use std::fmt::{self, Write};
use std::time::Instant;

use super::contenders::*;
use super::process::peak_kib;
use super::works::{Counts, Task, WORKS, Work};

/// What one process has needed.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// Requests for each second.
    pub(crate) speed: f64,
    /// CPU time for each request, in µs.
    pub(crate) cpu: f64,
    /// Most memory, in MB.
    pub(crate) memory: f64,
    /// Time to the first answer, in ms.
    pub(crate) first: f64,
}

/// Does a task, and takes its figures in this process.
pub(crate) fn take(task: &Task, run: impl FnOnce() -> Instant) -> Figures {
    let cpu_before = cpu_seconds();
    let started = Instant::now();
    let first = run();
    let taken = started.elapsed().as_secs_f64();
    let requests = task.requests as f64;
    Figures {
        speed: requests / taken,
        cpu: (cpu_seconds() - cpu_before) * 1e6 / requests,
        memory: peak_kib() as f64 / 1024.0 * 1.048_576,
        first: (first - started).as_secs_f64() * 1e3,
    }
}

/// User and system time of all threads that this process has or had.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks
        .map(|field| field.parse::<f64>().expect("ticks"))
        .sum();
    // A tick is 10 ms on all machines that this runs on.
    ticks / 100.0
}

impl fmt::Display for Figures {
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

impl Figures {
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

/// The figures of all rounds.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

struct Row {
    work: &'static Work,
    contender: &'static Contender,
    figures: Figures,
}

/// Whose speeds are compared, beyond each one's own.
const PAIRS: [(&str, &str); 7] = [
    (POOL_ON_REQWEST, THREADS_ON_REQWEST),
    (POOL_ON_SHARED, RAYON),
    (POOL_ON_UREQ, THREADS_ON_UREQ),
    (POOL_ON_UREQ, POOL_ON_REQWEST),
    (POOL_ON_UREQ, ASYNC_MULTI),
    (POOL_ON_UREQ, ASYNC_CURRENT),
    (POOL_ON_UREQ, RAW),
];

impl Table {
    pub(crate) fn add(
        &mut self,
        work: &'static Work,
        contender: &'static Contender,
        figures: Figures,
    ) {
        self.0.push(Row {
            work,
            contender,
            figures,
        });
    }

    fn rounds(&self, work: &Work, contender: &str) -> Vec<&Figures> {
        let rows = self.0.iter();
        rows.filter(|row| row.work.name == work.name && row.contender.name == contender)
            .map(|row| &row.figures)
            .collect()
    }

    fn figure(&self, work: &Work, contender: &str, which: fn(&Figures) -> f64) -> Option<f64> {
        let rounds = self.rounds(work, contender);
        median(rounds.into_iter().map(which).collect())
    }

    /// The median, over the rounds, of one speed as a part of another one.
    pub(crate) fn ratio(&self, work: &Work, ours: &str, theirs: &str) -> Option<f64> {
        let (ours, theirs) = (self.rounds(work, ours), self.rounds(work, theirs));
        let merit = |figures: &Figures| match work.counts {
            Counts::Speed => figures.speed,
            Counts::FirstAnswer => 1.0 / figures.first,
        };
        let ratios = ours.iter().zip(theirs);
        let ratios = ratios.map(|(ours, theirs)| merit(ours) / merit(theirs));
        median(ratios.collect())
    }

    /// The works that were done, in their order.
    pub(crate) fn works(&self) -> Vec<&'static Work> {
        WORKS
            .iter()
            .filter(|work| self.0.iter().any(|row| row.work.name == work.name))
            .collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let contenders = CONTENDERS.iter().map(|contender| {
            let cell = |work: &&Work| self.cell(work, contender.name);
            (
                contender.name.to_owned(),
                self.works().iter().map(cell).collect(),
            )
        });
        self.write(&mut text, "k/s (µs)", contenders);
        text.push('\n');
        let pairs = PAIRS.iter().map(|(ours, theirs)| {
            let ratio = |work: &&Work| match self.ratio(work, ours, theirs) {
                Some(ratio) => format!("{ratio:.2}"),
                None => "–".to_owned(),
            };
            (
                format!("{ours} ÷ {theirs}"),
                self.works().iter().map(ratio).collect(),
            )
        });
        self.write(&mut text, "speed ÷ speed", pairs);
        text
    }

    fn write(
        &self,
        text: &mut String,
        title: &str,
        rows: impl Iterator<Item = (String, Vec<String>)>,
    ) {
        let works: Vec<&str> = self.works().iter().map(|work| work.name).collect();
        let rule = "---|".repeat(works.len());
        let mut line = |name: &str, cells: &str| {
            writeln!(text, "| {name} | {cells} |").expect("a text takes everything");
        };
        line(title, &works.join(" | "));
        line("---", rule.trim_end_matches('|'));
        for (name, cells) in rows {
            line(&name, &cells.join(" | "));
        }
    }

    fn cell(&self, work: &Work, contender: &str) -> String {
        let figure = |which| self.figure(work, contender, which);
        let (Some(speed), Some(cpu), Some(memory), Some(first)) = (
            figure(|figures| figures.speed),
            figure(|figures| figures.cpu),
            figure(|figures| figures.memory),
            figure(|figures| figures.first),
        ) else {
            return "–".to_owned();
        };
        match work.counts {
            Counts::FirstAnswer => format!("{first:.0} ms, {memory:.0} MB"),
            Counts::Speed => format!("{:.1} ({cpu:.0}), {memory:.0} MB", speed / 1e3),
        }
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
