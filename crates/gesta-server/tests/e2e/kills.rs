//! The server is killed under load; afterwards every acknowledged event is there once.
//!
//! Writers, subscribers and consumers are clients that connect again after each loss. A writer
//! repeats an append whose outcome it does not know, with the same ids and the same expectation,
//! until it is acknowledged. So its stream must be exactly its events in its order.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use gesta_services::e2e::{empty_directory, figures};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};

use crate::{
    client::{
        ANY, BatchAppendReq, Client, NO_STREAM, Read, append,
        append_req::{ProposedMessage, options::ExpectedStreamRevision},
        append_resp, batch_append_req, batch_append_resp, exact, id, identifier, place, proposed,
        read_resp::Content,
    },
    form::{PATIENCE, Random, short_or_full},
    gesta::Gesta,
    group_client::{GroupConsumer, of_stream, place as place_in_group, settings},
};

const KILLS: (usize, usize) = (3, 50);
const WRITERS: usize = 16;
const SUBSCRIBERS: usize = 4;
/// Minimum of acknowledged appends between two kills.
const APPENDS_MIN: usize = 100;
/// Events of one append, at most.
const EVENTS_MAX: usize = 3;
const PAUSE: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_millis(2);

/// The state that all clients share.
#[derive(Default)]
struct Progress {
    /// Appends that were acknowledged.
    appends: AtomicUsize,
    /// Appends whose outcome was unknown, and that were repeated.
    repeats: AtomicUsize,
    stop: AtomicBool,
}

impl Progress {
    fn appends(&self) -> usize {
        self.appends.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_are_there_once_after_kills_under_load() -> Result<()> {
    let kills = short_or_full(KILLS.0, KILLS.1);
    let mut random = Random::of_run();
    let mut gesta = Gesta::start(&empty_directory("server-kills")?, &[])?;
    gesta.groups().await.create(of_stream("$ce-kill", "mail", settings())).await?;
    let progress = Arc::new(Progress::default());
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (client, progress) = (gesta.client().await, Arc::clone(&progress));
        writers.spawn(write(client, number, progress));
    }
    let head = Arc::new(AtomicUsize::new(usize::MAX));
    let mut subscribers = JoinSet::new();
    for _ in 0..SUBSCRIBERS {
        subscribers.spawn(subscribe(gesta.client().await, Arc::clone(&head)));
    }
    let consumer = tokio::spawn(consume(gesta.groups().await, Arc::clone(&head)));

    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        let more = APPENDS_MIN + random.below(APPENDS_MIN);
        let begun = Instant::now();
        acknowledge_more(&progress, 1, &mut writers).await?;
        slowest = slowest.max(begun.elapsed());
        acknowledge_more(&progress, more, &mut writers).await?;
        gesta.kill()?;
        gesta.restart()?;
    }
    acknowledge_more(&progress, APPENDS_MIN, &mut writers).await?;
    progress.stop.store(true, Ordering::SeqCst);

    let mut events = 0;
    let mut client = gesta.client().await;
    while let Some(written) = writers.join_next().await {
        events += check(&mut client, written??).await?;
    }
    head.store(events, Ordering::SeqCst);
    while let Some(subscribed) = subscribers.join_next().await {
        subscribed?.context("a subscriber")?;
    }
    let again = consumer.await?.context("the consumer of the group")?;
    let (appends, repeats) = (progress.appends(), progress.repeats.load(Ordering::SeqCst));
    ensure!(repeats > 0, "no kill met an append");
    figures(format!(
        "{kills} kills; {appends} acknowledged appends with {events} events, each there once; \
         {repeats} attempts repeated; the first append after a restart took {:.1} s at most; \
         {SUBSCRIBERS} subscribers got each event once, in order; a group got each, {again} again",
        slowest.as_secs_f64()
    ))
}

/// Waits until more appends are acknowledged, or returns a writer's error.
async fn acknowledge_more(
    progress: &Progress,
    more: usize,
    writers: &mut JoinSet<Result<Written>>,
) -> Result<()> {
    let enough = progress.appends() + more;
    let begun = Instant::now();
    while progress.appends() < enough {
        if let Some(ended) = writers.try_join_next() {
            ended??;
            bail!("a writer has ended");
        }
        ensure!(begun.elapsed() < PATIENCE, "no append is acknowledged");
        sleep(POLL).await;
    }
    Ok(())
}

/// A stream as its writer knows it.
struct Written {
    stream: String,
    /// Ids in the order of the stream.
    ids: Vec<u128>,
}

/// Appends until the end, each append until it is acknowledged.
async fn write(mut client: Client, number: usize, progress: Arc<Progress>) -> Result<Written> {
    let mut written = Written { stream: format!("kill-{number}"), ids: Vec::new() };
    let mut random = Random::of_seed(number as u64);
    let batches = number.is_multiple_of(4);
    while !progress.is_over() {
        let events = random.below(EVENTS_MAX) + 1;
        let first = ((number as u128) << 64) + written.ids.len() as u128;
        let ids: Vec<_> = (first..first + events as u128).collect();
        let expected = match written.ids.len() {
            0 => NO_STREAM,
            _ if random.once_in(3) => ANY,
            count => exact(count as u64 - 1),
        };
        let begun = Instant::now();
        loop {
            let tried = if batches {
                append_in_batch(&mut client, &written.stream, &expected, &ids).await
            } else {
                append_once(&mut client, &written.stream, &expected, &ids).await
            };
            match tried {
                Ok(head) => {
                    let known = written.ids.len() + ids.len();
                    ensure!(head + 1 == known as u64, "{}: head {head}", written.stream);
                    break;
                }
                Err(Failed::Unknown(status)) => {
                    progress.repeats.fetch_add(1, Ordering::SeqCst);
                    ensure!(begun.elapsed() < PATIENCE, "never acknowledged: {status}");
                    sleep(PAUSE).await;
                }
                Err(Failed::Wrong(reason)) => bail!("{}: {reason}", written.stream),
            }
        }
        written.ids.extend(ids);
        progress.appends.fetch_add(1, Ordering::SeqCst);
    }
    Ok(written)
}

/// The outcome of an append that was not acknowledged.
enum Failed {
    /// It may have happened.
    Unknown(Status),
    /// The server says what cannot be.
    Wrong(String),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        match status.code() {
            // Codes of a server that is gone, or was about to store the append.
            Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::Internal
            | Code::Aborted
            | Code::DeadlineExceeded => Self::Unknown(status),
            _ => Self::Wrong(status.to_string()),
        }
    }
}

fn events(ids: &[u128]) -> Vec<ProposedMessage> {
    ids.iter().map(|id| proposed(*id, "happened")).collect()
}

/// Appends by `Append`, and returns the stream's head.
async fn append_once(
    client: &mut Client,
    stream: &str,
    expected: &ExpectedStreamRevision,
    ids: &[u128],
) -> Result<u64, Failed> {
    use append_resp::{Result::Success, success::CurrentRevisionOption::CurrentRevision};
    match append(client, stream, *expected, events(ids)).await? {
        Success(append_resp::Success {
            current_revision_option: Some(CurrentRevision(head)),
            ..
        }) => Ok(head),
        other => Err(Failed::Wrong(format!("{other:?}"))),
    }
}

/// Appends by `BatchAppend`, and returns the stream's head.
async fn append_in_batch(
    client: &mut Client,
    stream: &str,
    expected: &ExpectedStreamRevision,
    ids: &[u128],
) -> Result<u64, Failed> {
    use batch_append_req::options::ExpectedStreamPosition as Position;
    use batch_append_resp::{Result::Success, success::CurrentRevisionOption::CurrentRevision};
    let expected = match expected {
        ExpectedStreamRevision::Revision(revision) => Position::StreamPosition(*revision),
        ExpectedStreamRevision::NoStream(_) => Position::NoStream(()),
        ExpectedStreamRevision::Any(_) => Position::Any(()),
        ExpectedStreamRevision::StreamExists(_) => Position::StreamExists(()),
    };
    let proposed_messages = events(ids).into_iter().map(|event| {
        let ProposedMessage { id, metadata, custom_metadata, data } = event;
        batch_append_req::ProposedMessage { id, metadata, custom_metadata, data }
    });
    let request = BatchAppendReq {
        correlation_id: id(1),
        options: Some(batch_append_req::Options {
            stream_identifier: identifier(stream),
            expected_stream_position: Some(expected),
            deadline_option: None,
        }),
        proposed_messages: proposed_messages.collect(),
        is_final: true,
    };
    let mut answers = client.batch_append(tokio_stream::iter([request])).await?.into_inner();
    let Some(answer) = answers.message().await? else {
        return Err(Failed::Unknown(Status::unknown("the call ended without an answer")));
    };
    match answer.result {
        Some(Success(batch_append_resp::Success {
            current_revision_option: Some(CurrentRevision(head)),
            ..
        })) => Ok(head),
        other => Err(Failed::Wrong(format!("{other:?}"))),
    }
}

/// Compares a stream with what its writer knows, and returns the number of its events.
async fn check(client: &mut Client, written: Written) -> Result<usize> {
    let read = Read::stream(&written.stream).run(client).await?;
    let found: Vec<_> = read.iter().filter_map(event_id).collect();
    let expected: Vec<_> =
        written.ids.iter().map(|id| uuid::Uuid::from_u128(*id).to_string()).collect();
    let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    ensure!(
        differs.is_none() && found.len() == expected.len(),
        "{} has {} events of {} acknowledged ones; the first difference is at {differs:?}",
        written.stream,
        found.len(),
        expected.len()
    );
    Ok(found.len())
}

fn event_id(content: &Content) -> Option<String> {
    use crate::client::shared::uuid::Value;
    let Content::Event(event) = content else { return None };
    match event.event.as_ref()?.id.as_ref()?.value.as_ref()? {
        Value::String(text) => Some(text.clone()),
        Value::Structured(_) => None,
    }
}

/// Follows the category through all kills, and fails unless each revision comes once, in order.
async fn subscribe(mut client: Client, head: Arc<AtomicUsize>) -> Result<()> {
    let mut next = 0;
    let mut since = Instant::now();
    loop {
        let read = match next {
            0 => Read::stream("$ce-kill"),
            next => Read::stream("$ce-kill").at_revision(next - 1),
        };
        if let Ok(mut messages) = read.subscribing().open(&mut client).await {
            // A loss of the connection ends the messages, and the next turn subscribes again.
            while next < head.load(Ordering::SeqCst) as u64 {
                match timeout(PAUSE, messages.next_or_end()).await {
                    Ok(Ok(Some(content @ Content::Event(_)))) => {
                        let expected = format!("{next}@$ce-kill");
                        ensure!(place(&content) == expected, "{} for {expected}", place(&content));
                        (next, since) = (next + 1, Instant::now());
                    }
                    Ok(Ok(Some(_))) | Err(_) => {}
                    Ok(Ok(None) | Err(_)) => break,
                }
                ensure!(since.elapsed() < PATIENCE, "nothing after {next} events");
            }
        }
        if next == head.load(Ordering::SeqCst) as u64 {
            return Ok(());
        }
        ensure!(since.elapsed() < PATIENCE, "no subscription after {next} events");
        sleep(PAUSE).await;
    }
}

/// Takes the events of the group through all kills until it has all, and returns how many came
/// again.
async fn consume(
    mut client: crate::group_client::GroupClient,
    head: Arc<AtomicUsize>,
) -> Result<usize> {
    let (mut seen, mut again) = (HashSet::new(), 0);
    let mut since = Instant::now();
    while seen.len() < head.load(Ordering::SeqCst) {
        ensure!(since.elapsed() < PATIENCE, "nothing after {} events", seen.len());
        let connected = GroupConsumer::connect(&mut client, ("$ce-kill", "mail"), 50).await;
        let Ok(mut consumer) = connected else {
            sleep(PAUSE).await;
            continue;
        };
        while seen.len() < head.load(Ordering::SeqCst) {
            ensure!(since.elapsed() < PATIENCE, "nothing after {} events", seen.len());
            match timeout(PAUSE, consumer.next_or_end()).await {
                Ok(Ok(Some(crate::client::groups::read_resp::Content::Event(event)))) => {
                    again += usize::from(!seen.insert(place_in_group(&event)));
                    since = Instant::now();
                    if consumer.try_ack(&[&event]).await.is_err() {
                        break;
                    }
                }
                Ok(Ok(Some(_))) | Err(_) => {}
                Ok(Ok(None) | Err(_)) => break,
            }
        }
    }
    Ok(again)
}
