//! `gesta subscribe`: what happened, and what happens while one looks on.
//!
//! Always holds: a subscription that waits holds no lock, so it keeps no program from its store.

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

/// How often a subscription that waits looks for what another process has appended.
const REFRESH_EVERY: Duration = Duration::from_millis(50);

const HINT: &str = "\
Examples:
  gesta subscribe --all
  gesta subscribe --all --category order --after 31775 --json
  gesta subscribe order-17 --until-caught-up";

/// Watch events as they are appended, after those that are there already.
///
/// Lines are those of `gesta read`. The program that appends may run, stop and start again
/// meanwhile. An event is shown once the store has confirmed it on disk, a moment after its append
/// was answered.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    source: Source,
    /// Only what comes after this: a revision of the stream, or with --all a position.
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// End once everything that is there now has been shown.
    #[arg(long)]
    until_caught_up: bool,
}

impl Subscribe {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let until_caught_up = self.until_caught_up;
        let store = if until_caught_up { store.open_to_read()? } else { store.open_to_follow()? };
        let to = self.to();
        if let SubscribeTo::Stream { stream, .. } = &to {
            // Who waits may wait for a stream that is still to come.
            match check_there(stream, &store) {
                Err(absent) if output.style() == Style::Text => {
                    notice(format_args!("{absent}; only what is still to come will be shown"));
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
        notice(format_args!("caught up at position {position}, waiting for more; Ctrl-C ends"));
    }
}

/// The next delivery, for which the store may have to be looked at again and again.
///
/// Nobody else wakes this: news of another process comes by refreshing, and that happens here.
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
