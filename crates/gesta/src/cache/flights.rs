//! Loads in progress: one loader for each key in this process.
//!
//! Invariant: a caller waits for at most one other load, and only for one whose answer will do.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use gesta_store::{CacheKey, Position};
use tokio::sync::watch;

/// The keys that are being loaded.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<CacheKey, Flight>>>);

struct Flight {
    /// Position that the answer will at least have.
    expected: Position,
    /// Closed at the end of the load.
    landed: watch::Receiver<()>,
}

/// The turn of a caller that lacks an answer.
pub(super) enum FlightTurn {
    /// Load, and keep the value until the answer is stored.
    Own(OwnFlight),
    /// Another caller loads an answer that will do. Wait for its end.
    Others(watch::Receiver<()>),
    /// Another caller loads an answer that is too old. Load as well.
    Beside,
}

/// The load of this caller. Ends when dropped.
pub(super) struct OwnFlight {
    flights: Flights,
    key: CacheKey,
    #[expect(dead_code, reason = "its end is the signal")]
    landing: watch::Sender<()>,
}

impl Flights {
    /// Begins a load, unless one is in progress.
    pub(super) fn begin(
        &self,
        key: &CacheKey,
        at_least: Position,
        expected: Position,
    ) -> FlightTurn {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return match flight.expected >= at_least {
                true => FlightTurn::Others(flight.landed.clone()),
                false => FlightTurn::Beside,
            };
        }
        let (landing, landed) = watch::channel(());
        flights.insert(key.clone(), Flight { expected, landed });
        drop(flights);
        FlightTurn::Own(OwnFlight { flights: self.clone(), key: key.clone(), landing })
    }
}

impl Drop for OwnFlight {
    fn drop(&mut self) {
        // Before the signal, so that a waiter that finds nothing can begin.
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Waits until a load has ended.
pub(super) async fn landed(mut flight: watch::Receiver<()>) {
    // Nothing is ever sent: the error is the end.
    while flight.changed().await.is_ok() {}
}
