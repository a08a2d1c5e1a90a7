//! The progress of a copy: a bar on a terminal, lines elsewhere.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _},
    time::Duration,
};

use gesta_log::{Clock as _, SystemClock};
use gesta_store::Position;
use indicatif::ProgressBar;

use crate::{
    output::notice,
    progress::{Unit, bar},
};

/// Interval of lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The progress of one run.
pub(super) struct CopyProgress {
    bar: ProgressBar,
    clock: SystemClock,
    began: Duration,
    /// Position before the first event of this run.
    first: u64,
    total: u64,
    next_line: Cell<Duration>,
    prints_lines: bool,
}

impl CopyProgress {
    pub(super) fn start(head: Position, continues_at: Position) -> Self {
        let (total, first) = (head.number(), continues_at.number() - 1);
        let bar = bar(Unit::Copied, total);
        // A rate counts the events of this run.
        bar.set_position(first);
        bar.reset_eta();
        let clock = SystemClock::new();
        let began = clock.elapsed();
        let next_line = Cell::new(began + LINE_EVERY);
        let prints_lines = !io::stderr().is_terminal();
        Self { bar, clock, began, first, total, next_line, prints_lines }
    }

    /// Reports that everything before a position was written.
    pub(super) fn reach(&self, next: Position) {
        let done = next.number() - 1;
        self.bar.set_position(done);
        if !self.prints_lines {
            return;
        }
        let now = self.clock.elapsed();
        if now < self.next_line.get() {
            return;
        }
        self.next_line.set(now + LINE_EVERY);
        let seconds = (now - self.began).as_secs_f64();
        notice(line(done, self.total, done.saturating_sub(self.first) as f64 / seconds));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(done: u64, total: u64, rate: f64) -> String {
    let left = total.saturating_sub(done) as f64 / rate.max(1.0);
    format!("copied {done} of {total} events, {rate:.0}/s, about {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_estimate() {
        let text = "copied 50000 of 150000 events, 20000/s, about 5 s left";
        assert_eq!(line(50_000, 150_000, 20_000.0), text);
        assert_eq!(line(0, 10, 0.0), "copied 0 of 10 events, 0/s, about 10 s left");
    }
}
