//! `gesta append`: appends events from the command line.
//!
//! Invariants: the events of one call are appended atomically. All input is parsed before the store
//! is opened, so invalid input never takes the store's lock.

use std::{
    fs,
    io::{self, BufRead, IsTerminal as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use futures_executor::block_on;
use gesta_store::{
    Appended, CausationId, ContentType, CorrelationId, EventId, EventType, ExpectedRevision,
    NewEvent, RecordedWhen, Revision, StoreError, StreamName, Tag,
};
use serde_json::{json, value::RawValue};

use crate::{
    events::{Printable, is_json},
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    store_url::StoreUrl,
};

const HINT: &str = "\
Examples:
  gesta append order-17 --type order-cancelled --data '{\"reason\": \"called in\"}' --expect 4
  gesta append order-18 --type order-placed --data-file order.json --expect none
  gesta append stock-22423 --type stock-counted --tag product:22423 < counts.jsonl

Appends are permanent: events cannot be changed or removed one by one. Applications that read the \
stream must know the event type, so check with their developers before you introduce a new one.";

/// Append events to a stream, atomically
///
/// Without --data and --data-file, each line of standard input is the data of one event. Needs
/// exclusive access to a store in a directory. Creates a store if the directory is empty, or if the
/// schema in PostgreSQL has none.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Append {
    /// Stream name, such as order-17
    stream: StreamName,
    /// Event type, such as order-placed
    #[arg(long = "type", value_name = "TYPE")]
    event_type: EventType,
    /// Data of a single event
    #[arg(long, value_name = "JSON", conflicts_with = "data_file")]
    data: Option<String>,
    /// Read the data of a single event from a file
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Media type of the data
    #[arg(long, value_name = "MEDIA-TYPE", default_value = "application/json", value_parser = content_type)]
    content_type: ContentType,
    /// Schema version of the data
    #[arg(long, value_name = "N", default_value_t = 1)]
    schema_version: u16,
    /// Expected state of the stream: any, none (it does not exist yet), exists, or its last
    /// revision. Nothing is appended if it differs
    #[arg(long, value_name = "REVISION", default_value = "any", allow_negative_numbers = true, value_parser = expected_revision)]
    expect: ExpectedRevision,
    /// Tag to find the events by; may be repeated
    #[arg(long = "tag", value_name = "KEY:VALUE", value_parser = tag)]
    tags: Vec<Tag>,
    /// Event id, random if omitted; repeat for each event. A retry with the same ids is applied
    /// only once, and says so
    #[arg(long = "id", value_name = "UUID")]
    ids: Vec<EventId>,
    /// Correlation id: the conversation that the events belong to
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
    /// Causation id: the command or event that caused the events
    #[arg(long, value_name = "ID")]
    causation: Option<CausationId>,
    /// Metadata of the events
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
}

/// Data of one event and its origin, for error messages.
struct Payload {
    origin: String,
    bytes: Vec<u8>,
}

impl Append {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        self.check_ordinary()?;
        store.check_for_append()?;
        let events = self.events()?;
        // Kept for a retry: with the same ids, an append whose outcome is unknown is applied once.
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        let append = gesta_store::Append::to(self.stream.clone(), self.expect, events);
        let store = store.open_to_append()?;
        match block_on(store.append(append)) {
            Ok(appended) => print(&self.stream, &appended, &ids, output)?,
            Err(error) => return Err(explained(error, &ids)),
        }
        Ok(Outcome::Done)
    }

    /// Rejects system streams and system event types, which delete and hide streams. Dedicated
    /// commands write those, with a confirmation prompt.
    fn check_ordinary(&self) -> Result<()> {
        let hint = "use `gesta delete`, `gesta truncate`, `gesta tombstone` or `gesta metadata`";
        if self.stream.is_system() {
            let name = Printable(self.stream.as_str());
            let message = format!("{name} is a system stream and cannot be appended to");
            return Err(Refusal::usage("system-stream", message).hint(hint).into());
        }
        if self.event_type.as_str().starts_with('$') {
            let name = Printable(self.event_type.as_str());
            let message = format!("{name} is a system event type and cannot be appended");
            return Err(Refusal::usage("system-type", message).hint(hint).into());
        }
        Ok(())
    }

    /// Returns the events to append, at least one.
    fn events(&self) -> Result<Vec<NewEvent>> {
        if let Some(metadata) = &self.metadata {
            check_json("--metadata", metadata.as_bytes())?;
        }
        let payloads = self.payloads()?;
        ensure!(
            !payloads.is_empty(),
            "standard input has no lines; expected the data of one event on each line"
        );
        let (ids, events) = (self.ids.len(), payloads.len());
        ensure!(
            ids == 0 || ids == events,
            "expected one --id for each event ({events}), or none; got {ids}"
        );
        let ids = self.ids.iter().copied().chain(std::iter::repeat_with(EventId::random));
        payloads.into_iter().zip(ids).map(|(payload, id)| self.event(payload, id)).collect()
    }

    fn payloads(&self) -> Result<Vec<Payload>> {
        if let Some(data) = &self.data {
            return Ok(vec![Payload { origin: "--data".to_owned(), bytes: data.clone().into() }]);
        }
        if let Some(file) = &self.data_file {
            let origin = file.display().to_string();
            let bytes = fs::read(file).with_context(|| format!("cannot read {origin}"))?;
            return Ok(vec![Payload { origin, bytes }]);
        }
        if io::stdin().is_terminal() {
            notice(
                "reading events from standard input, one per line; Ctrl-D to append, Ctrl-C to cancel",
            );
        }
        lines(io::stdin().lock())
    }

    fn event(&self, payload: Payload, id: EventId) -> Result<NewEvent> {
        if is_json(&self.content_type) {
            check_json(&payload.origin, &payload.bytes)?;
        }
        let event_type = self.event_type.clone();
        Ok(NewEvent::new(id, event_type, self.content_type.clone(), payload.bytes)
            .schema_version(self.schema_version)
            .metadata(self.metadata.clone().unwrap_or_default())
            .tagged(self.tags.clone())
            .correlation_id(self.correlation.clone())
            .causation_id(self.causation.clone()))
    }
}

/// Splits input into non-blank lines.
fn lines(input: impl BufRead) -> Result<Vec<Payload>> {
    let mut payloads = Vec::new();
    for (index, line) in input.split(b'\n').enumerate() {
        let line = line.context("cannot read standard input")?;
        // Split by hand: `lines` would reject data that is not UTF-8, which other content types
        // allow.
        let bytes = line.strip_suffix(b"\r").unwrap_or(&line);
        if !bytes.trim_ascii().is_empty() {
            let origin = format!("line {} of standard input", index + 1);
            payloads.push(Payload { origin, bytes: bytes.to_vec() });
        }
    }
    Ok(payloads)
}

fn check_json(origin: &str, bytes: &[u8]) -> Result<()> {
    match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(_) => Ok(()),
        // Metadata has no content type that could be changed.
        Err(error) if origin == "--metadata" => bail!("{origin} is not JSON: {error}"),
        Err(error) => bail!(
            "{origin} is not JSON: {error}; put double quotes around text, or set --content-type for \
             data of another type"
        ),
    }
}

fn print(
    stream: &StreamName,
    appended: &Appended,
    ids: &[EventId],
    output: &mut Output,
) -> Result<()> {
    let head = appended.revisions.iter().find(|(name, _)| name == stream);
    let revision = head.map_or(Revision::FIRST, |(_, revision)| *revision);
    let position = appended.position;
    match output.style() {
        Style::Text => {
            let count = ids.len();
            let events = if count == 1 { "event" } else { "events" };
            let name = Printable(stream.as_str());
            match appended.recorded {
                RecordedWhen::Earlier => {
                    let them = if count == 1 { "the event was" } else { "the events were" };
                    output.line(format_args!(
                        "nothing was appended: {them} appended before, to revision {revision} of \
                         {name}, position {position}"
                    ))
                }
                RecordedWhen::Now => output.line(format_args!(
                    "appended {count} {events}: {name} is at revision {revision}, position \
                     {position}"
                )),
            }
        }
        Style::Json => output.json(&json!({
            "stream": stream.as_str(),
            "revision": revision.number(),
            "position": position.number(),
            "recorded": match appended.recorded {
                RecordedWhen::Earlier => "earlier",
                RecordedWhen::Now => "now",
            },
            "ids": ids.iter().map(EventId::to_string).collect::<Vec<_>>(),
        })),
    }
}

/// Adds what an append's error means: nothing was appended, or how to retry safely.
fn explained(error: StoreError, ids: &[EventId]) -> anyhow::Error {
    // An indefinite error, such as a lost device, may follow a successful write.
    if error.is_definite() {
        return anyhow::Error::new(error).context("nothing was appended");
    }
    let ids: Vec<_> = ids.iter().map(|id| format!("--id {id}")).collect();
    let again =
        format!("the outcome is unknown; retry with {} to append exactly once", ids.join(" "));
    anyhow::Error::new(error).context(again)
}

fn expected_revision(text: &str) -> Result<ExpectedRevision, String> {
    match text {
        "any" => Ok(ExpectedRevision::Any),
        "none" => Ok(ExpectedRevision::NoStream),
        "exists" => Ok(ExpectedRevision::StreamExists),
        number => {
            let revision = number.parse().map(Revision::new).map(ExpectedRevision::Exact);
            revision.map_err(|_| {
                "expected any, none, exists, or the stream's last revision, a number from 0"
                    .to_owned()
            })
        }
    }
}

/// Parses a tag strictly. New tags follow the naming convention; existing tags that do not can
/// still be used as filters.
fn tag(text: &str) -> Result<Tag, String> {
    let (key, value) = text.split_once(':').ok_or("expected KEY:VALUE, such as customer:17850")?;
    Tag::of(key, value).map_err(|invalid| invalid.to_string())
}

fn content_type(text: &str) -> Result<ContentType, String> {
    ContentType::new(text).map_err(|invalid| invalid.to_string())
}
