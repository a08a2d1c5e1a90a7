//! `gesta clock`: how far the store's recorded time is ahead of the clock, and the way out.

use anyhow::Result;
use clap::Args;
use futures_executor::block_on;
use gesta_log::{Clock as _, Options, RecordedTime, SystemClock};
use gesta_store::{
    Append, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent, StreamName,
};
use serde_json::json;

use crate::{
    exit::Outcome,
    output::{Output, Style},
    store_url::StoreUrl,
};

/// Where operators' orders are recorded, by the programs on the store too.
const AUDIT_STREAM: &str = "audit-operations";

const HINT: &str = "\
Examples:
  gesta clock
  gesta clock --restart --actor ann --reason 'the clock of the old machine was a year ahead'

Exit codes:
  0  the recorded time goes with the clock
  1  it is more than a minute ahead
  2  wrong usage, or a store that cannot be used";

/// Compare the store's recorded time with the clock, and let it begin anew.
///
/// Recorded times never fall. So after a clock that was in the future all events are recorded at that
/// time until it has come, and max ages count from it. Once the clock is right, --restart lets the
/// recorded time begin anew: earlier events keep theirs, and the order of events, which is that of
/// their positions, does not change. The store must not be open elsewhere then.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Clock {
    /// Let the recorded time go on from the clock, and record that as an event.
    #[arg(long)]
    restart: bool,
    /// Who orders it, for the record.
    #[arg(long, value_name = "NAME", default_value = "operator", requires = "restart")]
    actor: String,
    /// Why, for the record.
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
        let stands_still = ahead > 60;
        match output.style() {
            Style::Json => {
                output.json(&json!({ "secondsAhead": ahead, "standsStill": stands_still }))?;
            }
            Style::Text if stands_still => output.line(format_args!(
                "the last event was recorded {ahead} seconds from now: the clock is wrong now, or was \
                 then. Until it has caught up, all events are recorded at that time. If it is right \
                 now: gesta clock --restart"
            ))?,
            Style::Text => output.line("the recorded time goes with the clock")?,
        }
        Ok(if stands_still { Outcome::Damaged } else { Outcome::Done })
    }

    fn restart(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        url.directory()?;
        let options = Options { recorded_time: RecordedTime::BeginsAnew, ..Options::default() };
        let store = url.open_to_append_with(options)?;
        let now = SystemClock::new().now();
        let ahead = block_on(store.recorded_ahead(now))?.as_secs();
        if ahead == 0 {
            match output.style() {
                Style::Json => output.json(&json!({ "restarted": false, "secondsAhead": 0 }))?,
                Style::Text => output
                    .line("the recorded time is not ahead of the clock; nothing was changed")?,
            }
            return Ok(Outcome::Done);
        }
        let stream = StreamName::new(AUDIT_STREAM)?;
        let append = Append::to(stream, ExpectedRevision::Any, [self.record(ahead)?]);
        block_on(store.append(append))?;
        match output.style() {
            Style::Json => output.json(&json!({ "restarted": true, "secondsAhead": ahead }))?,
            Style::Text => output.line(format_args!(
                "the recorded time goes on from the clock; it was {ahead} seconds ahead. That is \
                 recorded in {AUDIT_STREAM}"
            ))?,
        }
        Ok(Outcome::Done)
    }

    /// The record of the order, as programs on the store write theirs. It is the first event with the
    /// new time, from which later openings go on.
    fn record(&self, ahead: u64) -> Result<NewEvent> {
        let reason = self.reason.clone();
        let reason = reason.unwrap_or_else(|| format!("it was {ahead} seconds ahead"));
        let data = json!({
            "operation": "restart-recorded-time", "target": "recorded time", "reason": reason,
        });
        let event_type = EventType::new("operation-ordered")?;
        Ok(NewEvent {
            metadata: json!({ "actor": self.actor }).to_string().into(),
            ..NewEvent::json(EventId::random(), event_type, data.to_string())
        })
    }
}
