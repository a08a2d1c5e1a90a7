//! Consumer groups, each with a fast, a slow and a dying consumer, and some with one that answers
//! nothing.

use std::{
    collections::HashSet,
    fmt,
    ops::AddAssign,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Goal, STREAMS, Source, check_patience, interval_of, stream};
use crate::{
    client::groups::{
        create_req::settings::{CheckpointAfter, MessageTimeout},
        read_req::nack::Action,
        read_resp::{Content, ReadEvent},
    },
    form::Random,
    gesta::Gesta,
    group_client::{GroupClient, GroupConsumer, info, of_all, of_stream, place, retries, settings},
};

const POLL: Duration = Duration::from_millis(200);
/// Time that a slow consumer takes for an event, at most.
const SLOW: Duration = Duration::from_millis(30);
/// Time after which an event without an answer is delivered again.
const TIMEOUT_MS: i32 = 1_000;
/// Deliveries after which a dying consumer drops its connection, on the average.
const DEATH_ONE_IN: usize = 10;
const RETRY_ONE_IN: usize = 10;
/// Events that a consumer may have at once. One that answers nothing holds up as many.
const SLOTS: i32 = 10;
const STRATEGIES: [&str; 3] = ["RoundRobin", "DispatchToSingle", "Pinned"];
/// One group of this number has a consumer that answers nothing. A group with pinned streams has
/// none: its streams would wait until their events are parked.
const SILENT_ONE_IN: usize = 5;
/// One group of this number is of the whole store.
const ALL_ONE_IN: usize = 10;

/// Returns the time that the slow consumer of a group takes for an event.
///
/// Consumers of the other strategies take over what it has no slot for. Those of pinned streams
/// cannot: its events fill the buffer of the group, which then advances as they do. One of 30 ms an
/// event and one retry in ten acknowledges 29 events a second. With 8 of 20 pinned streams it gets
/// 80 of 200 events a second, and the group advances by 29 / 0.4, which is 73 a second. So it takes
/// half of the time between two events of the whole source: it keeps up whichever streams it has.
fn time_of_slow(source: Source, strategy: &str) -> Duration {
    match strategy {
        "Pinned" => SLOW.min(interval_of(source) / 2),
        _ => SLOW,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    Fast,
    Slow(Duration),
    /// Drops its connection with events that it has not acknowledged.
    Dying,
    Silent,
}

/// The notes of all consumers of a group.
struct Book {
    acknowledged: HashSet<String>,
    /// The time of the last acknowledgement of a new event.
    since: Instant,
    /// Events that were delivered and not acknowledged: by the dying, the silent, and with a retry.
    unacknowledged: HashSet<String>,
    deliveries: u64,
    redeliveries: u64,
    deaths: u64,
}

impl Book {
    fn new() -> Self {
        Self {
            acknowledged: HashSet::new(),
            since: Instant::now(),
            unacknowledged: HashSet::new(),
            deliveries: 0,
            redeliveries: 0,
            deaths: 0,
        }
    }
}

pub(super) struct GroupAtWork {
    name: (String, String),
    source: Source,
    consumers: Vec<(GroupClient, Habit)>,
}

/// Numbers of groups that have got everything.
#[derive(Default)]
pub(super) struct Done {
    acknowledged: u64,
    unacknowledged: u64,
    deliveries: u64,
    redeliveries: u64,
    deaths: u64,
}

impl AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.deliveries += other.deliveries;
        self.redeliveries += other.redeliveries;
        self.deaths += other.deaths;
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unacknowledged, deliveries, redeliveries, deaths } = self;
        write!(
            f,
            "{deliveries} deliveries, {redeliveries} of them with a count of retries, \
             {acknowledged} events acknowledged, {unacknowledged} of them after a delivery that was \
             not, through {deaths} lost connections"
        )
    }
}

impl GroupAtWork {
    pub(super) async fn create(gesta: &Gesta, number: usize) -> Result<Self> {
        let group = format!("group-{number}");
        let mut settings = settings();
        settings.max_retry_count = i32::MAX;
        settings.message_timeout = Some(MessageTimeout::MessageTimeoutMs(TIMEOUT_MS));
        settings.checkpoint_after = Some(CheckpointAfter::CheckpointAfterMs(1_000));
        settings.min_checkpoint_count = 10;
        settings.max_checkpoint_count = 100;
        let strategy = STRATEGIES[number % STRATEGIES.len()];
        settings.consumer_strategy = strategy.to_owned();
        let mut client = gesta.groups().await;
        let (name, source) = if number.is_multiple_of(ALL_ONE_IN) {
            let mut request = of_all(&group, Some("load-"));
            if let Some(options) = &mut request.options {
                options.settings = Some(settings);
            }
            client.create(request).await?;
            ("$all".to_owned(), Source::All)
        } else {
            let number = number % STREAMS;
            client.create(of_stream(&stream(number), &group, settings)).await?;
            (stream(number), Source::Stream(number))
        };
        let slow = Habit::Slow(time_of_slow(source, strategy));
        let mut habits = vec![Habit::Fast, slow, Habit::Dying];
        if number % SILENT_ONE_IN == 1 && strategy != "Pinned" {
            // The first one: it gets events before the others.
            habits.insert(0, Habit::Silent);
        }
        let mut consumers = Vec::new();
        for habit in habits {
            consumers.push((gesta.groups().await, habit));
        }
        Ok(Self { name: (name, group), source, consumers })
    }

    /// Consumes until every event is acknowledged.
    pub(super) async fn run(self, goal: Goal, mut random: Random) -> Result<Done> {
        let book = Arc::new(Mutex::new(Book::new()));
        let mut running = JoinSet::new();
        for (client, habit) in self.consumers {
            let consumer = ConsumerAtWork {
                name: self.name.clone(),
                source: self.source,
                habit,
                client,
                book: Arc::clone(&book),
                random: Random::of_seed(random.next()),
            };
            running.spawn(consumer.run(goal.clone()));
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        let book = book.lock().unwrap();
        let missing = book.unacknowledged.difference(&book.acknowledged).next();
        anyhow::ensure!(missing.is_none(), "{missing:?} was delivered once, and not again");
        Ok(Done {
            acknowledged: book.acknowledged.len() as u64,
            unacknowledged: book.unacknowledged.len() as u64,
            deliveries: book.deliveries,
            redeliveries: book.redeliveries,
            deaths: book.deaths,
        })
    }
}

struct ConsumerAtWork {
    name: (String, String),
    source: Source,
    habit: Habit,
    client: GroupClient,
    book: Arc<Mutex<Book>>,
    random: Random,
}

impl ConsumerAtWork {
    async fn run(mut self, goal: Goal) -> Result<()> {
        while !self.is_done(&goal) {
            let name = (self.name.0.as_str(), self.name.1.as_str());
            let mut consumer =
                GroupConsumer::connect(&mut self.client.clone(), name, SLOTS).await?;
            while !self.is_done(&goal) {
                self.check_progress(&goal).await?;
                let Ok(message) = timeout(POLL, consumer.next_or_end()).await else { continue };
                let Some(Content::Event(event)) = message? else {
                    anyhow::bail!("a consumer has been left")
                };
                let is_over = self.take(&mut consumer, &event).await? == Life::Over;
                if is_over {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Fails with the group's own figures if it has come to rest while something is missing.
    async fn check_progress(&self, goal: &Goal) -> Result<()> {
        let since = self.book.lock().unwrap().since;
        let checked = check_patience(since, "a group", goal, self.acknowledged());
        if checked.is_err() {
            let (stream, group) = &self.name;
            let info = info(&mut self.client.clone(), stream, group).await?;
            return checked.with_context(|| format!("{info:?}"));
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.book.lock().unwrap().acknowledged.len() as u64
    }

    fn is_done(&self, goal: &Goal) -> bool {
        goal.is_reached(self.source, self.acknowledged())
    }

    /// Handles an event as the consumer's habit is.
    async fn take(&mut self, consumer: &mut GroupConsumer, event: &ReadEvent) -> Result<Life> {
        let place = place(event);
        {
            let mut book = self.book.lock().unwrap();
            book.deliveries += 1;
            book.redeliveries += u64::from(retries(event) > 0);
        }
        match self.habit {
            Habit::Fast => {}
            Habit::Slow(time) => {
                sleep(time).await;
                if self.random.once_in(RETRY_ONE_IN) {
                    self.book.lock().unwrap().unacknowledged.insert(place);
                    consumer.nack(event, Action::Retry).await;
                    return Ok(Life::GoesOn);
                }
            }
            Habit::Dying => {
                if self.random.once_in(DEATH_ONE_IN) {
                    let mut book = self.book.lock().unwrap();
                    book.unacknowledged.insert(place);
                    book.deaths += 1;
                    return Ok(Life::Over);
                }
            }
            Habit::Silent => {
                self.book.lock().unwrap().unacknowledged.insert(place);
                return Ok(Life::GoesOn);
            }
        }
        consumer.try_ack(&[event]).await?;
        let mut book = self.book.lock().unwrap();
        if book.acknowledged.insert(place) {
            book.since = Instant::now();
        }
        Ok(Life::GoesOn)
    }
}

#[derive(PartialEq, Eq)]
enum Life {
    GoesOn,
    Over,
}
