//! The report: medians of the rounds, ratios to UmaDB, and what was wanted.

use std::{collections::HashMap, time::Duration};

use crate::{
    loads::Sample,
    rows::{ClientKind, Load, ROWS, Row, Wanted},
};

const IDLE_BYTES_MAX: u64 = 40_000_000;
const READY_MAX: Duration = Duration::from_millis(200);

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    samples: HashMap<(Load, ClientKind, String), Vec<Sample>>,
    memory_after: Vec<(String, u64)>,
    pub(crate) idle_bytes: Option<u64>,
    pub(crate) store_bytes: u64,
    pub(crate) large_bytes: Option<u64>,
    pub(crate) ready_after: Vec<Duration>,
    /// Processor time until it was ready.
    pub(crate) ready_time: Option<Duration>,
}

impl Report {
    pub(crate) fn add(&mut self, row: &Row, server: &str, sample: Sample) {
        self.samples.entry((row.load, row.client, server.to_owned())).or_default().push(sample);
    }

    pub(crate) fn memory_after(&mut self, server: &str, bytes: u64) {
        self.memory_after.push((server.to_owned(), bytes));
    }

    pub(crate) fn print(&self, is_compared: bool) {
        println!(
            "| load | client | server | events/s | p50, µs | p99, µs | server's processor time, µs \
             | × UmaDB (least to greatest) | wanted |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for row in &ROWS {
            for server in ["umadb", "gesta", "other"] {
                self.print_row(row, server);
            }
        }
        println!();
        self.print_start();
        for (server, bytes) in &self.memory_after {
            println!("- {server}: {} MB resident after the loads", megabytes(*bytes));
        }
        if !is_compared {
            println!("- NOT compared with UmaDB: its program or its client was not there");
        }
    }

    fn print_row(&self, row: &Row, server: &str) {
        let key = (row.load, row.client, server.to_owned());
        let Some(samples) = self.samples.get(&key) else { return };
        let figure = |of: fn(&Sample) -> f64| median(samples.iter().map(of).collect());
        let ratios = self.ratios(row.load, samples);
        let (ratio, verdict) = match ratios.as_slice() {
            [] => ("–".to_owned(), "–".to_owned()),
            [least, .., greatest] => {
                let ratio = median(ratios.clone());
                (format!("{ratio:.2} ({least:.2} to {greatest:.2})"), row.wanted.verdict(ratio))
            }
            [only] => (format!("{only:.2}"), row.wanted.verdict(*only)),
        };
        println!(
            "| {row} | {server} | {:.0} | {} | {} | {:.1} | {ratio} | {verdict} |",
            figure(|sample| sample.per_second),
            micros(figure(|sample| sample.p50_us)),
            micros(figure(|sample| sample.p99_us)),
            figure(|sample| sample.server_us),
        );
    }

    /// Returns the ratios to UmaDB, round by round, in order of size.
    fn ratios(&self, load: Load, samples: &[Sample]) -> Vec<f64> {
        let key = (load, ClientKind::Umadb, "umadb".to_owned());
        let Some(base) = self.samples.get(&key) else { return Vec::new() };
        let figure = |sample: &Sample| match load.is_of_time() {
            true => sample.p50_us,
            false => sample.per_second,
        };
        let pairs = samples.iter().zip(base);
        let mut ratios: Vec<_> =
            pairs.map(|(sample, base)| figure(sample) / figure(base)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn print_start(&self) {
        if let Some(bytes) = self.idle_bytes {
            let verdict = held(bytes < IDLE_BYTES_MAX);
            println!(
                "- idle on a fresh store: {} MB resident (under 40: {verdict})",
                megabytes(bytes)
            );
        }
        let mut starts = self.ready_after.clone();
        starts.sort();
        if let ([.., longest], Some(bytes)) = (starts.as_slice(), self.large_bytes) {
            let middle = starts.get(starts.len() / 2).copied().unwrap_or_default();
            println!(
                "- ready on a store of {} MB: {:.0} ms, {:.0} at most, after kills (under 200: {}), \
                 of which {} ms of processor time; {} MB resident",
                megabytes(self.store_bytes),
                middle.as_secs_f64() * 1e3,
                longest.as_secs_f64() * 1e3,
                held(middle < READY_MAX),
                self.ready_time.unwrap_or_default().as_millis(),
                megabytes(bytes),
            );
        }
    }
}

impl Wanted {
    fn verdict(self, ratio: f64) -> String {
        match self {
            Self::Nothing => "–".to_owned(),
            Self::AtLeast(bar) => format!("≥ {bar}: {}", held(ratio >= bar)),
            Self::AtMost(bar) => format!("≤ {bar}: {}", held(ratio <= bar)),
        }
    }
}

/// Returns the text of a time that reads do not have.
fn micros(value: f64) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{value:.0}") }
}

const fn held(is: bool) -> &'static str {
    if is { "held" } else { "**missed**" }
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// Returns the median, the upper one of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
