//! `gesta clock`: compares the store's recorded time with the system clock and resets it.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_log::{Clock as _, RecordedTime, SystemClock};
use gesta_store::{
    Append, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, StreamName,
};
use serde_json::json;

use crate::{
    exit::Outcome,
    output::{Output, Style},
    store_url::StoreUrl,
};

/// Audit stream of operator actions, shared with applications.
const AUDIT_STREAM: &str = "audit-operations";

/// The advice for stores in PostgreSQL.
const INSTEAD: &str =
    "correct the clock of the database server; recorded times continue once it has caught up";

const HINT: &str = "\
Examples:
  gesta clock
  gesta clock --restart --actor ann --reason 'the clock of the old machine was a year ahead'

Exit codes:
  0  the recorded time follows the system clock
  1  the recorded time is more than a minute ahead
  2  usage error, or the store cannot be used";

/// Compare the store's recorded time with the system clock, or reset the recorded time
///
/// Recorded times never decrease. If the system clock was ahead, new events get the time of the
/// last event until the clock has caught up, and their maximum age counts from that time. Once the
/// clock is correct, --restart resets the recorded time. Earlier events keep their recorded times.
/// The order of events does not change: it is the order of positions. --restart needs exclusive
/// access to the store.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Clock {
    /// Reset the recorded time to the system clock, and record that as an event
    #[arg(long)]
    restart: bool,
    /// Name of the operator, recorded in the audit stream
    #[arg(long, value_name = "NAME", default_value = "operator", requires = "restart")]
    actor: String,
    /// Reason, recorded in the audit stream
    #[arg(long, value_name = "TEXT", requires = "restart")]
    reason: Option<String>,
}

impl Clock {
    pub(crate) fn run(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        if self.restart {
            return self.restart(url, output);
        }
        let store = url.open_to_read()?;
        let ahead = block_on(store.recorded_ahead(SystemClock::new().now()))?.as_secs();
        // Corrections by time synchronization are far smaller.
        let stands_still = ahead > 60;
        match output.style() {
            Style::Json => {
                output.json(&json!({ "secondsAhead": ahead, "standsStill": stands_still }))?;
            }
            Style::Text if stands_still => output.line(format_args!(
                "the recorded time is {ahead} seconds ahead of the system clock: the clock is wrong \
                 now, or was wrong earlier. Until the clock has caught up, new events get the time of \
                 the last event. If the clock is correct now, run: gesta clock --restart"
            ))?,
            Style::Text => output.line("the recorded time follows the system clock")?,
        }
        Ok(if stands_still { Outcome::ProblemFound } else { Outcome::Done })
    }

    fn restart(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        // Without this check, an append would create a store in an empty directory.
        let log = url.log("clock --restart", INSTEAD)?;
        log.directory()?;
        let options = log.options().recorded_time(RecordedTime::Restarts);
        let store = log.open_to_append_with(options)?;
        let now = SystemClock::new().now();
        let ahead = block_on(store.recorded_ahead(now))?.as_secs();
        if ahead == 0 {
            match output.style() {
                Style::Json => output.json(&json!({ "restarted": false, "secondsAhead": 0 }))?,
                Style::Text => output.line(
                    "the recorded time is not ahead of the system clock; nothing was changed",
                )?,
            }
            return Ok(Outcome::Done);
        }
        // The append makes the reset durable: it has the first event with the new time.
        let stream = StreamName::new(AUDIT_STREAM)?;
        let append = Append::to(stream, ExpectedRevision::Any, [self.record(ahead)?]);
        block_on(store.append(append))?;
        match output.style() {
            Style::Json => output.json(&json!({ "restarted": true, "secondsAhead": ahead }))?,
            Style::Text => output.line(format_args!(
                "the recorded time was {ahead} seconds ahead; it is now reset to the system clock. \
                 Recorded in stream {AUDIT_STREAM}"
            ))?,
        }
        Ok(Outcome::Done)
    }

    /// Returns the audit event of the reset, in the format that applications use. It is the first
    /// event with the new time, so the store continues from it when it is opened again.
    fn record(&self, ahead: u64) -> Result<NewEvent> {
        let reason = self.reason.clone();
        let reason =
            reason.unwrap_or_else(|| format!("the recorded time was {ahead} seconds ahead"));
        let data = json!({
            "operation": "restart-recorded-time", "target": "recorded time", "reason": reason,
        });
        let event_type = EventType::new("operation-ordered")?;
        Ok(NewEvent::json(EventId::random(), event_type, data.to_string())
            .metadata(json!({ "actor": self.actor }).to_string()))
    }
}
