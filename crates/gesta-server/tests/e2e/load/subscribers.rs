//! Subscribers: fast, slow, and dying ones, which subscribe again after their last event.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep, timeout};

use super::{Goal, STREAMS, Source, check_patience, stream};
use crate::{
    client::{
        Client, Read, by_prefix, place, read_req::options::filter_options::Filter,
        read_resp::Content,
    },
    form::Random,
    gesta::Gesta,
};

const POLL: Duration = Duration::from_millis(200);
/// Time that a slow subscriber takes for an event.
const SLOW: Duration = Duration::from_millis(20);
/// Events after which a dying subscriber drops its connection, on the average.
const DEATH_ONE_IN: usize = 20;
const WINDOW: u32 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Fast,
    Slow,
    Dying,
}

pub(super) struct Subscriber {
    client: Client,
    source: Source,
    manner: Manner,
    events: u64,
    /// The position of the last event of the whole store.
    position: u64,
    deaths: usize,
}

/// The events and lost connections of a subscriber.
pub(super) struct SubscriberDone {
    pub(super) events: u64,
    pub(super) deaths: usize,
}

impl Subscriber {
    /// Each has a connection of its own: one that does not read would hold up others.
    pub(super) async fn new(gesta: &Gesta, number: usize) -> Self {
        let manner = match number % 5 {
            3 => Manner::Slow,
            4 => Manner::Dying,
            _ => Manner::Fast,
        };
        let source = match number / 5 % 10 {
            8 => Source::Category,
            9 => Source::All,
            _ => Source::Stream(number % STREAMS),
        };
        let client = gesta.client().await;
        // A slow one of all events would never get to the end.
        let manner = match (source, manner) {
            (Source::Category | Source::All, Manner::Slow) => Manner::Fast,
            (_, manner) => manner,
        };
        Self { client, source, manner, events: 0, position: 0, deaths: 0 }
    }

    /// Reads until it has all.
    pub(super) async fn run(mut self, goal: Goal, mut random: Random) -> Result<SubscriberDone> {
        let mut since = Instant::now();
        while !goal.is_reached(self.source, self.events) {
            let mut messages = self.read().subscribing().open(&mut self.client.clone()).await?;
            while !goal.is_reached(self.source, self.events) {
                check_patience(since, "a subscriber", &goal, self.events)?;
                let Ok(message) = timeout(POLL, messages.next_or_end()).await else { continue };
                let Some(content) = message? else { anyhow::bail!("a subscription has ended") };
                if !matches!(content, Content::Event(_)) {
                    continue;
                }
                self.take(&content)?;
                since = Instant::now();
                if self.manner == Manner::Slow {
                    sleep(SLOW).await;
                } else if self.manner == Manner::Dying && random.once_in(DEATH_ONE_IN) {
                    self.deaths += 1;
                    break;
                }
            }
        }
        Ok(SubscriberDone { events: self.events, deaths: self.deaths })
    }

    /// Returns the read that begins after the last event.
    fn read(&self) -> Read {
        match (self.source, self.events.checked_sub(1)) {
            (Source::Stream(number), None) => Read::stream(&stream(number)),
            (Source::Stream(number), Some(last)) => Read::stream(&stream(number)).at_revision(last),
            (Source::Category, None) => Read::stream("$ce-load"),
            (Source::Category, Some(last)) => Read::stream("$ce-load").at_revision(last),
            (Source::All, last) => {
                let by_name = Filter::StreamIdentifier(by_prefix(&["load-"]));
                let all = Read::all().filtered(by_name, WINDOW);
                last.map_or(all.clone(), |_| all.at_position(self.position, self.position))
            }
        }
    }

    /// Counts an event, which must be the next one.
    fn take(&mut self, content: &Content) -> Result<()> {
        let expected = self.events;
        match self.source {
            Source::Stream(number) => {
                let expected = format!("{expected}@{}", stream(number));
                ensure!(place(content) == expected, "{} for {expected}", place(content));
            }
            Source::Category => {
                let expected = format!("{expected}@$ce-load");
                ensure!(place(content) == expected, "{} for {expected}", place(content));
            }
            Source::All => {
                let record = crate::client::event(content).event.as_ref().expect("an event");
                ensure!(record.commit_position > self.position, "positions rise");
                self.position = record.commit_position;
            }
        }
        self.events += 1;
        Ok(())
    }
}
