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
use futures_executor::block_on;
use gesta_store::{Delivery, Position, Revision, StoreError, SubscribeTo, Subscription};

use crate::{
    events::show,
    exit::Outcome,
    lookup::check_exists,
    output::{Output, Style, notice},
    selection::{Selected, SelectionArguments},
    store_url::{FollowedStore, StoreUrl},
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
    selection: SelectionArguments,
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
        // To follow, events are shown once their writer confirms them. With --until-caught-up there
        // may be no writer, so the last events are recovered as for `gesta read`.
        let followed = match store {
            StoreUrl::Log(log) if until_caught_up => FollowedStore::Log(log.open_to_read()?),
            other => other.open_to_follow()?,
        };
        let store = followed.store();
        let subscribe = self.subscribe();
        if let SubscribeTo::Stream { stream, .. } = &subscribe.to {
            // A missing stream may still be created, so this is a notice and not an error.
            match check_exists(stream, store) {
                Err(absent) if output.style() == Style::Text => {
                    notice(format_args!("{absent}; waiting for its first event"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let mut subscription = store.subscribe(subscribe);
        while let Some(delivery) = next(&mut subscription, &followed)? {
            match delivery? {
                Delivery::Events(page) => {
                    page.iter().try_for_each(|event| show(event, output))?;
                    // A reader at the other end of a pipe should see an event when it happens.
                    output.flush()?;
                }
                Delivery::CaughtUp(_) if until_caught_up => break,
                Delivery::CaughtUp(position) => print_caught_up(position, output),
                // The position of events that the filter leaves out; there is nothing to resume.
                Delivery::Checkpoint(_) => {}
                _ => {}
            }
        }
        Ok(Outcome::Done)
    }

    fn subscribe(self) -> gesta_store::Subscribe {
        match self.selection.selected() {
            Selected::Stream(stream) => {
                let all = gesta_store::Subscribe::to_stream(stream);
                match self.after {
                    Some(revision) => all.after(Revision::new(revision)).into(),
                    None => all.into(),
                }
            }
            Selected::All(filter) => {
                let after = self.after.map_or(Position::START, Position::new);
                gesta_store::Subscribe::to_all().after(after).filter(filter).into()
            }
        }
    }
}

fn print_caught_up(position: Position, output: &Output) {
    if output.style() == Style::Text {
        notice(format_args!(
            "caught up at position {position}; waiting for new events, Ctrl-C to exit"
        ));
    }
}

/// Polls for the next delivery and refreshes the store in between.
///
/// A store that another process has open has no waker: its appends are only seen by a refresh.
fn next(
    subscription: &mut Subscription,
    store: &FollowedStore,
) -> Result<Option<Result<Delivery, StoreError>>> {
    if !store.refresh()? {
        return Ok(block_on(subscription.next()));
    }
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
