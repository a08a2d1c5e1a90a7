//! The log of a recording: one line per process, append and acknowledgement.
//!
//! `life` and its options start a process. `offer WRITER NUMBER` precedes an append. `ack WRITER
//! NUMBER POSITION REVISION…` follows an acknowledged append, with its last position and the head
//! of each of its streams. `refused WRITER NUMBER` means that the store rejected the append,
//! `unknown WRITER NUMBER` that the outcome is unknown.
//!
//! Invariant: lines are in the order in which they were recorded.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::BufRead,
};

use anyhow::{Context as _, Result, bail, ensure};
use gesta_store::{Position, Revision};

use super::plan::{AppendId, PlannedAppend, Shape};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    Life(Shape),
    Offer { writer: u16, number: u64 },
    Acknowledged { writer: u16, number: u64, place: AppendPlace },
    Refused { writer: u16, number: u64 },
    Unknown { writer: u16, number: u64 },
}

/// Last position of an append and the head of each of its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendPlace {
    pub position: Position,
    pub revisions: Vec<Revision>,
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Life(shape) => {
                let Shape { life, writers, events_per_append, event_bytes, streams, tags } = shape;
                write!(
                    f,
                    "life {life} {writers} {events_per_append} {event_bytes} {streams} {tags}"
                )
            }
            Self::Offer { writer, number } => write!(f, "offer {writer} {number}"),
            Self::Acknowledged { writer, number, place } => {
                write!(f, "ack {writer} {number} {}", place.position)?;
                place.revisions.iter().try_for_each(|revision| write!(f, " {revision}"))
            }
            Self::Refused { writer, number } => write!(f, "refused {writer} {number}"),
            Self::Unknown { writer, number } => write!(f, "unknown {writer} {number}"),
        }
    }
}

impl LogEntry {
    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        Ok(match (kind, numbers.as_slice()) {
            ("life", [life, writers, events_per_append, event_bytes, streams, tags]) => {
                Self::Life(Shape {
                    life: u32::try_from(*life)?,
                    writers: u16::try_from(*writers)?,
                    events_per_append: u32::try_from(*events_per_append)?,
                    event_bytes: *event_bytes,
                    streams: *streams,
                    tags: *tags,
                })
            }
            ("offer", [writer, number]) => {
                Self::Offer { writer: u16::try_from(*writer)?, number: *number }
            }
            ("ack", [writer, number, position, revisions @ ..]) => Self::Acknowledged {
                writer: u16::try_from(*writer)?,
                number: *number,
                place: AppendPlace {
                    position: Position::new(*position),
                    revisions: revisions.iter().copied().map(Revision::new).collect(),
                },
            },
            ("refused", [writer, number]) => {
                Self::Refused { writer: u16::try_from(*writer)?, number: *number }
            }
            ("unknown", [writer, number]) => {
                Self::Unknown { writer: u16::try_from(*writer)?, number: *number }
            }
            _ => bail!(
                "expected life, offer, ack, refused or unknown, with all numbers of the entry"
            ),
        })
    }
}

/// State of an append in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedAppend {
    /// Highest position that was acknowledged before the append.
    pub after: Position,
    pub answer: Answer,
}

/// Outcome of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not answered, or reported as unknown.
    Open,
    Acknowledged(AppendPlace),
    Refused,
}

/// A parsed log.
#[derive(Clone, Debug, Default)]
pub struct OracleLog {
    lives: BTreeMap<u32, Shape>,
    life: u32,
    highest: Position,
    pub appends: HashMap<AppendId, OfferedAppend>,
}

impl OracleLog {
    pub fn read(lines: impl BufRead) -> Result<Self> {
        let mut log = Self::default();
        for (number, line) in (1..).zip(lines.lines()) {
            let line = line?;
            let added = LogEntry::parse(&line).and_then(|entry| log.add(entry));
            added.with_context(|| format!("line {number} of the log: {line}"))?;
        }
        Ok(log)
    }

    pub fn add(&mut self, entry: LogEntry) -> Result<()> {
        let (writer, number, answer) = match entry {
            LogEntry::Life(shape) => {
                self.life = shape.life;
                ensure!(
                    self.lives.insert(shape.life, shape).is_none(),
                    "the log has two processes with this number; each run needs its own --life"
                );
                return Ok(());
            }
            LogEntry::Offer { writer, number } => {
                let id = AppendId { life: self.life, writer, number };
                let offered = OfferedAppend { after: self.highest, answer: Answer::Open };
                ensure!(
                    self.appends.insert(id, offered).is_none(),
                    "the append is in the log twice"
                );
                return Ok(());
            }
            LogEntry::Acknowledged { writer, number, place } => {
                self.highest = self.highest.max(place.position);
                (writer, number, Answer::Acknowledged(place))
            }
            LogEntry::Refused { writer, number } => (writer, number, Answer::Refused),
            LogEntry::Unknown { writer, number } => (writer, number, Answer::Open),
        };
        let id = AppendId { life: self.life, writer, number };
        self.appends.get_mut(&id).context("the append has no `offer` line")?.answer = answer;
        Ok(())
    }

    /// Returns the append that this id stands for, in a recorded process.
    pub fn plan(&self, id: AppendId) -> Result<PlannedAppend> {
        let life = self.lives.get(&id.life);
        life.with_context(|| format!("the log has no process with number {}", id.life))?.plan(id)
    }

    /// Returns the number of acknowledged and of refused appends.
    pub fn counts(&self) -> (usize, usize) {
        let count = |is: fn(&Answer) -> bool| {
            self.appends.values().filter(|offered| is(&offered.answer)).count()
        };
        (
            count(|answer| matches!(answer, Answer::Acknowledged(_))),
            count(|answer| *answer == Answer::Refused),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_parsed_as_they_were_written() {
        let place = AppendPlace {
            position: Position::new(77),
            revisions: vec![Revision::new(0), Revision::new(5)],
        };
        let shape = Shape {
            life: 9,
            writers: 8,
            events_per_append: 0,
            event_bytes: 256,
            streams: 10,
            tags: 20,
        };
        for entry in [
            LogEntry::Life(shape),
            LogEntry::Offer { writer: 1, number: 2 },
            LogEntry::Acknowledged { writer: 1, number: 2, place },
            LogEntry::Refused { writer: 3, number: 4 },
            LogEntry::Unknown { writer: 5, number: 6 },
        ] {
            assert_eq!(LogEntry::parse(&entry.to_string()).unwrap(), entry);
        }
        for wrong in ["", "ack 1", "offer 1 x", "offer 1 2 3", "life 1", "offer 99999 1"] {
            assert!(LogEntry::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_to_what_was_never_offered_is_refused() {
        let life = "life 1 8 1 256 10 10\n";
        assert!(OracleLog::read(format!("{life}ack 1 2 3 4\n").as_bytes()).is_err());
        assert!(OracleLog::read(format!("{life}offer 1 2\noffer 1 2\n").as_bytes()).is_err());
        assert!(OracleLog::read(format!("{life}{life}").as_bytes()).is_err());
        let log = OracleLog::read(format!("{life}offer 1 2\nack 1 2 3 4\noffer 1 3\n").as_bytes());
        let log = log.unwrap();
        assert_eq!(log.counts(), (1, 0));
        let later = AppendId { life: 1, writer: 1, number: 3 };
        assert_eq!(log.appends[&later].after, Position::new(3));
    }
}
