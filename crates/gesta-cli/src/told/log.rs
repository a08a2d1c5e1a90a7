//! The log of what was told: a line for each process, offer and answer.
//!
//! `life` and its shape begin a process; `offer WRITER NUMBER` comes before an append is made,
//! `ack WRITER NUMBER POSITION REVISION…` after it was acknowledged (its last event's position, and
//! the head of each of its streams), `refused WRITER NUMBER` after the store said that nothing was
//! appended, `unknown WRITER NUMBER` after it said that it cannot tell.
//!
//! Always holds: a later line was told after every earlier one.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::BufRead,
};

use anyhow::{Context as _, Result, bail, ensure};
use gesta_store::{Position, Revision};

use super::plan::{AppendId, Planned, Shape};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Life(Shape),
    Offer { writer: u16, number: u64 },
    Acknowledged { writer: u16, number: u64, place: Place },
    Refused { writer: u16, number: u64 },
    Unknown { writer: u16, number: u64 },
}

/// Where an append is: its last event's position, and the head of each of its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) revisions: Vec<Revision>,
}

impl fmt::Display for Told {
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

impl Told {
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
                place: Place {
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
            _ => bail!("nobody tells such a thing"),
        })
    }
}

/// What is known of an append that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    /// The highest position that was told before the offer.
    pub(crate) after: Position,
    pub(crate) answer: Answer,
}

/// What its writer was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing, or that the outcome is unknown.
    Open,
    Acknowledged(Place),
    Refused,
}

/// All that was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    lives: BTreeMap<u32, Shape>,
    life: u32,
    highest: Position,
    pub(crate) appends: HashMap<AppendId, Offered>,
}

impl Log {
    pub(crate) fn read(lines: impl BufRead) -> Result<Self> {
        let mut log = Self::default();
        for (number, line) in (1..).zip(lines.lines()) {
            let line = line?;
            let told = Told::parse(&line).and_then(|told| log.add(told));
            told.with_context(|| format!("line {number} of the log: {line}"))?;
        }
        Ok(log)
    }

    pub(crate) fn add(&mut self, told: Told) -> Result<()> {
        let (writer, number, answer) = match told {
            Told::Life(shape) => {
                self.life = shape.life;
                ensure!(
                    self.lives.insert(shape.life, shape).is_none(),
                    "a life of that number was"
                );
                return Ok(());
            }
            Told::Offer { writer, number } => {
                let id = AppendId { life: self.life, writer, number };
                let offered = Offered { after: self.highest, answer: Answer::Open };
                ensure!(self.appends.insert(id, offered).is_none(), "it was offered before");
                return Ok(());
            }
            Told::Acknowledged { writer, number, place } => {
                self.highest = self.highest.max(place.position);
                (writer, number, Answer::Acknowledged(place))
            }
            Told::Refused { writer, number } => (writer, number, Answer::Refused),
            Told::Unknown { writer, number } => (writer, number, Answer::Open),
        };
        let id = AppendId { life: self.life, writer, number };
        self.appends.get_mut(&id).context("it was never offered")?.answer = answer;
        Ok(())
    }

    /// What an append of this id is, in a life that was told.
    pub(crate) fn plan(&self, id: AppendId) -> Result<Planned> {
        self.lives.get(&id.life).with_context(|| format!("there is no life {}", id.life))?.plan(id)
    }

    /// How many appends were acknowledged, and how many refused.
    pub(crate) fn counts(&self) -> (usize, usize) {
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
    fn what_is_told_is_read_again() {
        let place = Place {
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
        for told in [
            Told::Life(shape),
            Told::Offer { writer: 1, number: 2 },
            Told::Acknowledged { writer: 1, number: 2, place },
            Told::Refused { writer: 3, number: 4 },
            Told::Unknown { writer: 5, number: 6 },
        ] {
            assert_eq!(Told::parse(&told.to_string()).unwrap(), told);
        }
        for wrong in ["", "ack 1", "offer 1 x", "offer 1 2 3", "life 1", "offer 99999 1"] {
            assert!(Told::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_to_what_was_never_offered_is_refused() {
        let life = "life 1 8 1 256 10 10\n";
        assert!(Log::read(format!("{life}ack 1 2 3 4\n").as_bytes()).is_err());
        assert!(Log::read(format!("{life}offer 1 2\noffer 1 2\n").as_bytes()).is_err());
        assert!(Log::read(format!("{life}{life}").as_bytes()).is_err());
        let log = Log::read(format!("{life}offer 1 2\nack 1 2 3 4\noffer 1 3\n").as_bytes());
        let log = log.unwrap();
        assert_eq!(log.counts(), (1, 0));
        let later = AppendId { life: 1, writer: 1, number: 3 };
        assert_eq!(log.appends[&later].after, Position::new(3));
    }
}
