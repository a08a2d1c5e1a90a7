//! `gesta copy`: copies a store to another place, also to a store of another kind.
//!
//! Invariants: the target is no store before it has every event. A copy that was interrupted
//! continues where it stopped, and records nothing twice. Source and target are compared in full
//! before the command succeeds. Not here: how a store reads and writes appends
//! ([`transfer`](crate::transfer)).

#[cfg(any(feature = "kurrentdb", feature = "dynamodb"))]
mod by_appends;
mod compare;
mod progress;

use std::{fs, sync::mpsc, thread};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_store::{Incarnation, Position, StoredAppend};
use serde_json::json;

use self::{
    compare::Comparison,
    progress::{EventProgress, Phase},
};
use crate::{
    counted::counted,
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    store_url::StoreUrl,
    transfer::{FreePlace, Source, TargetStore},
};

/// Appends that the reading thread hands over at once, and the number of such portions in flight.
const PORTION_APPENDS: usize = 1_024;
const PORTIONS_MAX: usize = 4;

const HINT: &str = "\
Examples:
  gesta copy gesta:./data 'postgres://ann@db.example/shop?schema=orders'
  gesta copy 'postgres://ann@db.example/shop?schema=orders' gesta:./again
  gesta copy --verify-only gesta:./data 'postgres://ann@db.example/shop?schema=orders'

Stop the application first: what it appends later is not in the copy. Passwords are taken from
PGPASSWORD or ~/.pgpass, so that they are not on the command line.

If the command is interrupted, run it again; it continues. A copy in PostgreSQL to which nothing else
was appended can also be brought up to date: run the command once while the application still runs,
stop the application, and run it again for the rest.

Read models, process managers and reactors continue on the copy: it has the incarnations of the
source, so their checkpoints stay valid.

To or from a server (kurrentdb://USER@HOST:PORT) events are appended again: streams, revisions, ids,
metadata, deletions and tombstones are kept, positions and recorded times are new, so read models are
rebuilt. Streams whose names begin with $ (users, groups, links) are left out, with their access
lists, such as those of $all and $ce-order. The command continues if it is run again. The password of
a login without one (kurrentdb://admin@…) is taken from GESTA_PASSWORD.

Exit codes:
  0  success: source and target are equal
  1  refused: the target has other events, or differs from the source
  2  usage error, or a store cannot be used";

/// Copy a store to another directory or database, and compare both
///
/// Keeps events with their ids, positions, revisions, recorded times, metadata and append
/// boundaries, stream metadata, deletions and tombstones; a copy to or from a server appends the
/// events again, with new positions and times. The target is an empty or new directory, or a
/// schema in PostgreSQL without a store; both are created.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Copy {
    /// Store to copy: gesta:DIR, postgres://USER@HOST:PORT/DATABASE?schema=NAME or
    /// kurrentdb://USER@HOST:PORT
    source: StoreUrl,
    /// Place of the copy, of the same forms
    target: StoreUrl,
    /// Only compare the target with the source, up to the last event of the source
    #[arg(long)]
    verify_only: bool,
}

/// The result of copying, before the comparison.
#[derive(Clone, Copy, Debug, Default)]
struct Copied {
    /// Events that this run wrote.
    events: u64,
    /// Position up to which the target had the events before.
    known_to: u64,
}

impl Copy {
    pub(crate) fn run(self, output: &mut Output) -> Result<Outcome> {
        check_different(&self.source, &self.target)?;
        #[cfg(any(feature = "kurrentdb", feature = "dynamodb"))]
        if self.source.is_copied_by_appends() || self.target.is_copied_by_appends() {
            let appended = by_appends::copy(&self.source, &self.target, self.verify_only)?;
            self.print_appended(&appended, output)?;
            return Ok(Outcome::Done);
        }
        let source = Source::open(&self.source)?;
        if let Some(left_out) = source.unconfirmed() {
            notice(format_args!(
                "positions {} to {} are left out: the process that has the source open has not \
                 confirmed that they are durable; stop it, then run the copy again",
                left_out.start(),
                left_out.end()
            ));
        }
        let copied = if self.verify_only { Copied::default() } else { self.copy(&source)? };
        let compared = compare::compare(&source, &self.source, &self.target)?;
        self.print(copied, &compared, output)?;
        let now = Source::open(&self.source)?.head();
        if now > source.head() {
            let more = counted(now.number() - source.head().number(), "event");
            notice(format_args!(
                "the source has {more} more by now; stop the application, then run the copy again"
            ));
        }
        Ok(Outcome::Done)
    }

    #[cfg(any(feature = "kurrentdb", feature = "dynamodb"))]
    fn print_appended(&self, appended: &by_appends::Appended, output: &mut Output) -> Result<()> {
        let (source, target) = (&self.source, &self.target);
        let by_appends::Appended { copied, events, left_out } = appended;
        if output.style() == Style::Json {
            return output.json(&json!({
                "source": source.to_string(),
                "target": target.to_string(),
                "copied": copied,
                "events": events,
                "leftOut": left_out,
                "equal": true,
            }));
        }
        if !self.verify_only {
            let copied = counted(*copied, "event");
            output.line(format_args!("copied {copied} from {source} to {target}"))?;
        }
        let events = counted(*events, "event");
        output.line(format_args!("equal: {events}, but for positions and recorded times"))?;
        match left_out {
            0 => Ok(()),
            left_out => {
                let left_out = counted(*left_out, "event");
                output.line(format_args!("left out: {left_out} of the server's own streams"))
            }
        }
    }

    fn copy(&self, source: &Source) -> Result<Copied> {
        let Some(target) = self.begin(source)? else {
            return Ok(Copied { events: 0, known_to: source.head().number() });
        };
        let continues_at = target.next();
        let bar = EventProgress::start(Phase::Copied, source.head(), continues_at);
        let pushed = push_all(source, target, &bar);
        bar.end();
        let events = pushed.context(
            "the copy is not complete; correct the cause, then run the same command again to \
             continue",
        )?;
        Ok(Copied { events, known_to: continues_at.number() - 1 })
    }

    /// Begins or continues the target. Returns `None` if it has all events of the source.
    fn begin(&self, source: &Source) -> Result<Option<TargetStore>> {
        let (incarnations, head) = (source.incarnations(), source.head());
        if let StoreUrl::Log(log) = &self.target {
            log.create_directory()?;
        }
        let free = FreePlace::of(&self.target)?;
        if free.is_none() {
            let there = Source::open(&self.target)?;
            let Some(copied_to) = copied_to(&there, incarnations) else {
                return Err(self.occupied("it has events that are not of the source").into());
            };
            if copied_to == head {
                return Ok(None);
            }
            // Only a store in PostgreSQL can be continued after it was finished.
            if there.head() > copied_to || matches!(self.target, StoreUrl::Log(_)) {
                let why = format!(
                    "it is a copy up to position {copied_to} with events up to {}, and the source \
                     goes up to {head}",
                    there.head()
                );
                return Err(self.occupied(&why).into());
            }
        }
        let place = match (free, &self.target) {
            (Some(place), _) => place,
            #[cfg(feature = "postgres")]
            (None, StoreUrl::Postgres(url)) => FreePlace::Postgres(url.clone()),
            (None, _) => return Err(self.occupied("it is not empty").into()),
        };
        place.begin(incarnations, head).map(Some)
    }

    fn occupied(&self, why: &str) -> Refusal {
        let message = format!("nothing can be copied to {}: {why}", self.target);
        Refusal::refused("target-occupied", message)
            .hint("copy into another, empty directory, or another ?schema=NAME")
    }

    fn print(&self, copied: Copied, compared: &Comparison, output: &mut Output) -> Result<()> {
        let (source, target) = (&self.source, &self.target);
        let Comparison { events, appends, streams, digest, head, more } = compared;
        if output.style() == Style::Json {
            return output.json(&json!({
                "source": source.to_string(),
                "target": target.to_string(),
                "copied": copied.events,
                "events": events,
                "appends": appends,
                "streams": streams,
                "position": head.number(),
                "eventsOfTargetAfter": more,
                "blake3": digest,
                "equal": true,
            }));
        }
        if !self.verify_only {
            let known = match copied.known_to {
                0 => String::new(),
                known => format!("; up to position {known} they were there"),
            };
            let events = counted(copied.events, "event");
            output.line(format_args!("copied {events} from {source} to {target}{known}"))?;
        }
        let streams = streams.map_or_else(String::new, |streams| {
            format!(", {} with head, state and metadata", counted(streams, "stream"))
        });
        let (events, appends) = (counted(*events, "event"), counted(*appends, "append"));
        output.line(format_args!(
            "equal up to position {head}: {events} in {appends}{streams}; BLAKE3 {digest}"
        ))?;
        match more {
            0 => Ok(()),
            more => output.line(format_args!(
                "the target has positions up to {} beyond the source",
                head.number() + more
            )),
        }
    }
}

/// Returns the last position that a store has from the source with these incarnations, or `None` if
/// it is no copy of it.
fn copied_to(there: &Source, of_source: &[(Incarnation, Position)]) -> Option<Position> {
    let incarnations = there.incarnations();
    if !incarnations.starts_with(of_source) {
        return None;
    }
    // Its own incarnation begins after the copied events; a directory has it once it is opened.
    let own = incarnations.get(of_source.len());
    Some(own.map_or(there.head(), |(_, first)| Position::new(first.number().saturating_sub(1))))
}

/// Refuses a target that is the source by its URL.
fn check_different(source: &StoreUrl, target: &StoreUrl) -> Result<()> {
    let same = match (source, target) {
        (StoreUrl::Log(one), StoreUrl::Log(other)) => {
            let canonical = (fs::canonicalize(one.path()), fs::canonicalize(other.path()));
            matches!(canonical, (Ok(one), Ok(other)) if one == other)
        }
        (one, other) => one.to_string() == other.to_string(),
    };
    if same {
        let message = format!("source and target are the same store, {source}");
        return Err(Refusal::usage("same-store", message)
            .hint("use another directory, database or ?schema=NAME for the target")
            .into());
    }
    Ok(())
}

/// Pushes the appends that the target lacks, and makes it a store. Returns the number of events.
fn push_all(source: &Source, mut target: TargetStore, bar: &EventProgress) -> Result<u64> {
    let first = target.next();
    let mut events = 0;
    let pushed = thread::scope(|scope| {
        let (sender, portions) = mpsc::sync_channel::<Result<Vec<StoredAppend>>>(PORTIONS_MAX);
        // Reading and decoding overlap with writing.
        scope.spawn(move || {
            let mut appends = source.appends_from(first);
            loop {
                let portion: Result<Vec<_>> = appends.by_ref().take(PORTION_APPENDS).collect();
                let is_last = portion.as_ref().map_or(true, Vec::is_empty);
                // The other thread has failed, and says why.
                if sender.send(portion).is_err() || is_last {
                    return;
                }
            }
        });
        for portion in portions {
            for append in portion? {
                let (next, count) = (append.next(), append.events.len() as u64);
                if !target.push(append)? {
                    events += count;
                }
                bar.reach(next);
            }
        }
        anyhow::Ok(())
    });
    if let Err(error) = pushed {
        // Keep what was written if possible, so that a retry continues from there.
        drop(target.keep());
        return Err(error);
    }
    target.finish(source.last_recorded_at()?)?;
    Ok(events)
}
