//! `gesta subscribe`: prints events as they are appended.
//!
//! Invariant: a waiting subscription holds no lock and never blocks a writer.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use anyhow::Result;
use clap::Args;
use gesta_log::LogStore;
use gesta_store::{
    Delivery, EventStore as _, Position, Revision, StoreError, SubscribeTo, Subscription,
    Visibility,
};

use crate::{
    events::show,
    exit::Outcome,
    lookup::check_there,
    output::{Output, Style, notice},
    source::{Source, Which},
    store_url::StoreUrl,
};

/// Interval at which a waiting subscription checks for appends of another process.
const REFRESH_EVERY: Duration = Duration::from_millis(50);

const HINT: &str = "\
Examples:
  gesta subscribe --all
  gesta subscribe --all --category order --after 31775 --json
  gesta subscribe order-17 --until-caught-up";

/// Print existing events, then new ones as they are appended
///
/// Prints lines in the format of `gesta read`. The application that appends may run, stop and
/// restart in the meantime. An event appears once it is confirmed on disk, shortly after its append
/// was acknowledged.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    source: Source,
    /// Start after this revision, or with --all after this position
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// Exit once all existing events are printed
    #[arg(long)]
    until_caught_up: bool,
}

impl Subscribe {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let until_caught_up = self.until_caught_up;
        let store = if until_caught_up { store.open_to_read()? } else { store.open_to_follow()? };
        let to = self.to();
        if let SubscribeTo::Stream { stream, .. } = &to {
            // A missing stream may still be created, so this is a notice and not an error.
            match check_there(stream, &store) {
                Err(absent) if output.style() == Style::Text => {
                    notice(format_args!("{absent}; waiting for its first event"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let mut subscription = store.subscribe(gesta_store::Subscribe { to, incarnation: None });
        while let Some(delivery) = next(&mut subscription, &store)? {
            match delivery? {
                Delivery::Events(page) => {
                    page.iter().try_for_each(|event| show(event, output))?;
                    output.flush()?;
                }
                Delivery::CaughtUp(_) if until_caught_up => break,
                Delivery::CaughtUp(position) => tell_caught_up(position, output),
                Delivery::Checkpoint(_) => {}
            }
        }
        Ok(Outcome::Done)
    }

    fn to(self) -> SubscribeTo {
        match self.source.which() {
            Which::Stream(stream) => {
                SubscribeTo::Stream { stream, after: self.after.map(Revision::new) }
            }
            Which::All(filter) => {
                let after = self.after.map_or(Position::START, Position::new);
                SubscribeTo::All { after, filter, visibility: Visibility::Raw }
            }
        }
    }
}

fn tell_caught_up(position: Position, output: &Output) {
    if output.style() == Style::Text {
        notice(format_args!(
            "caught up at position {position}; waiting for new events, Ctrl-C to exit"
        ));
    }
}

/// Polls for the next delivery and refreshes the store in between.
///
/// The read-only store has no waker: appends of another process are only seen by a refresh.
fn next(
    subscription: &mut Subscription,
    store: &LogStore,
) -> Result<Option<Result<Delivery, StoreError>>> {
    let mut delivery = pin!(subscription.next());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(delivery) = delivery.as_mut().poll(&mut context) {
            return Ok(delivery);
        }
        thread::park_timeout(REFRESH_EVERY);
        store.refresh()?;
    }
}
