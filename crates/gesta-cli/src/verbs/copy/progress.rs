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

/// The part of a copy that makes progress.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Copied,
    Compared,
}

/// The progress over the events of one phase.
pub(super) struct EventProgress {
    phase: Phase,
    bar: ProgressBar,
    lines: DueLines,
    /// Position before the first event of this run.
    first: u64,
    total: u64,
}

/// The progress over streams, whose number is not known before.
pub(super) struct StreamProgress {
    bar: ProgressBar,
    lines: DueLines,
}

/// The times at which a line is due where there is no terminal for a bar.
struct DueLines {
    clock: SystemClock,
    began: Duration,
    next: Cell<Duration>,
    is_on: bool,
}

impl EventProgress {
    pub(super) fn start(phase: Phase, head: Position, begins_at: Position) -> Self {
        let (total, first) = (head.number(), begins_at.number() - 1);
        let unit = match phase {
            Phase::Copied => Unit::Copied,
            Phase::Compared => Unit::Events,
        };
        let bar = bar(unit, total);
        // A rate counts the events of this run.
        bar.set_position(first);
        bar.reset_eta();
        Self { phase, bar, lines: DueLines::start(), first, total }
    }

    /// Reports that everything before a position is done.
    pub(super) fn reach(&self, next: Position) {
        let done = next.number() - 1;
        self.bar.set_position(done);
        if let Some(seconds) = self.lines.due() {
            let rate = done.saturating_sub(self.first) as f64 / seconds;
            notice(line(self.phase, done, self.total, rate));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl StreamProgress {
    pub(super) fn start() -> Self {
        Self { bar: bar(Unit::Streams, 0), lines: DueLines::start() }
    }

    pub(super) fn reach(&self, streams: u64) {
        self.bar.set_position(streams);
        if self.lines.due().is_some() {
            notice(format_args!("compared {streams} streams"));
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl DueLines {
    fn start() -> Self {
        let clock = SystemClock::new();
        let began = clock.elapsed();
        let next = Cell::new(began + LINE_EVERY);
        Self { clock, began, next, is_on: !io::stderr().is_terminal() }
    }

    /// Returns the seconds since the start if a line is due.
    fn due(&self) -> Option<f64> {
        if !self.is_on {
            return None;
        }
        let now = self.clock.elapsed();
        if now < self.next.get() {
            return None;
        }
        self.next.set(now + LINE_EVERY);
        Some((now - self.began).as_secs_f64())
    }
}

fn line(phase: Phase, done: u64, total: u64, rate: f64) -> String {
    let verb = match phase {
        Phase::Copied => "copied",
        Phase::Compared => "compared",
    };
    let left = total.saturating_sub(done) as f64 / rate.max(1.0);
    format!("{verb} {done} of {total} events, {rate:.0}/s, about {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_estimate() {
        let text = "copied 50000 of 150000 events, 20000/s, about 5 s left";
        assert_eq!(line(Phase::Copied, 50_000, 150_000, 20_000.0), text);
        let text = "compared 0 of 10 events, 0/s, about 10 s left";
        assert_eq!(line(Phase::Compared, 0, 10, 0.0), text);
    }
}
