//! Appends events from several threads and prints the place of each once it is acknowledged: `ack
//! SEGMENT_FILE END_OFFSET POSITION`, each in one write to standard output.
//!
//! Under a tracer of system calls it shows that no acknowledgement precedes its sync. Usage:
//! `acknowledged DIRECTORY COUNT`. Built with mutations it acknowledges early, so that the check
//! can be seen to fail.

use std::{
    error::Error,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use gesta_log::{LogStore, Options};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, StreamName,
    conformance::block_on,
};

const WRITERS: u64 = 8;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: acknowledged DIRECTORY COUNT";
    let directory = PathBuf::from(arguments.next().ok_or(usage)?);
    let count: u64 = arguments.next().ok_or(usage)?.parse()?;
    #[cfg(gesta_planted)]
    gesta_log::mutations::enable(Some(gesta_log::mutations::Mutation::AcknowledgeBeforeSync));
    let store = LogStore::open(&directory, Options::default())?;
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, next, directory) = (&store, &next, &directory);
                scope.spawn(move || append_some(store, directory, writer, next, count))
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })
}

/// Appends until all writers together have appended `count` events.
fn append_some(
    store: &LogStore,
    directory: &Path,
    writer: u64,
    next: &AtomicU64,
    count: u64,
) -> Result<(), Failure> {
    let stream = StreamName::new(format!("writer-{writer}"))?;
    while next.fetch_add(1, Ordering::Relaxed) < count {
        let data = format!(r#"{{"writer":{writer}}}"#);
        let event = NewEvent::json(EventId::random(), EventType::new("written")?, data);
        let append = Append::to(stream.clone(), ExpectedRevision::Any, [event]);
        let position = block_on(store.append(append))?.position;
        let place = store.locate(position).ok_or("an acknowledged event has a place")?;
        let file = directory.join(place.file);
        let end = place.offset + place.length;
        // Standard output writes a whole line at once.
        let line = format!("ack {} {end} {position}\n", file.display());
        std::io::stdout().lock().write_all(line.as_bytes())?;
    }
    Ok(())
}
