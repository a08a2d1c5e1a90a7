//! The consumer of balances: a projection on what the relay publishes, and on nothing else.
//!
//! Invariant: it reaches the shop's event store by no way, so it stands for a program of its own.
//! Brokers that are away, and a relay that has published nothing yet, are waited for.

use std::{
    future::IntoFuture as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gesta::{Gesta, Position, store::EventStore};
use shop::{accounts::ListBalances, read_models::ReadModels};
use tokio::{task::JoinHandle, time::sleep};

use super::picture::{FollowerState, Part, PartState, bounded};
use crate::balances;

/// Pause before a consumer that did not open is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// A running consumer.
pub(super) struct Consumer {
    url: String,
    feed: Arc<dyn EventStore>,
    opening: Arc<Mutex<Opening>>,
    task: JoinHandle<()>,
    read_models: ReadModels,
}

/// The application of the consumer, or the reason why it is not open yet.
#[derive(Clone)]
enum Opening {
    Failed(String),
    Open(Gesta),
}

impl Consumer {
    /// Starts a consumer that opens in the background.
    pub(super) fn start(url: String, feed: Arc<dyn EventStore>, read_models: ReadModels) -> Self {
        let opening = Arc::new(Mutex::new(Opening::Failed("it is starting".to_owned())));
        let task = open(Arc::clone(&feed), read_models.clone(), Arc::clone(&opening));
        Self { url, feed, opening, task: tokio::spawn(task), read_models }
    }

    /// Returns its part of the picture, beside the head of the event store.
    pub(super) async fn part(&self, store: Option<Position>) -> Part {
        let mut part = Part::up("Balances from Kafka", &self.url);
        let opening = lock(&self.opening).clone();
        let gesta = match opening {
            Opening::Open(gesta) => gesta,
            Opening::Failed(reason) => return part.at_most(PartState::Down, reason),
        };
        let (head, projections, balances) = tokio::join!(
            bounded(self.feed.head()),
            bounded(gesta.projections()),
            bounded(gesta.ask(ListBalances).into_future()),
        );
        if let Ok(balances) = &balances {
            part = part.figure("accounts", balances.len());
        }
        if let (Ok(head), Some(store)) = (&head, store) {
            let behind = store.number().saturating_sub(head.position.number());
            part = part.figure("published up to", head.position);
            part = part.figure("behind the event store", behind);
        }
        if let Ok(projections) = &projections {
            let followers = projections.iter().map(FollowerState::of_projection).collect();
            part = part.followed_by(followers);
        }
        let failed = [head.err(), projections.err(), balances.err()].into_iter().flatten().next();
        match failed {
            Some(error) => part.at_most(PartState::Down, error),
            None => part,
        }
    }

    /// Ends the consumer, and closes its read models.
    pub(super) async fn close(&self) {
        self.task.abort();
        let opening = lock(&self.opening).clone();
        if let Opening::Open(gesta) = opening {
            gesta.close().await;
        }
        self.read_models.clone().close().await;
    }
}

/// Opens the consumer, as often as it takes.
async fn open(feed: Arc<dyn EventStore>, read_models: ReadModels, opening: Arc<Mutex<Opening>>) {
    loop {
        match balances::open(Arc::clone(&feed), &read_models).await {
            Ok(gesta) => {
                *lock(&opening) = Opening::Open(gesta);
                return;
            }
            Err(error) => *lock(&opening) = Opening::Failed(error.to_string()),
        }
        sleep(PAUSE).await;
    }
}

fn lock(opening: &Mutex<Opening>) -> MutexGuard<'_, Opening> {
    // Every change is one step, so a panic cannot leave it inconsistent.
    opening.lock().unwrap_or_else(PoisonError::into_inner)
}
