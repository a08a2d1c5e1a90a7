//! All process managers of the shop, in one list.

use std::time::Duration;

use gesta::Builder;

use crate::{orders::Fulfilment, users::Welcome};

/// Delays and timeouts of the process managers.
///
/// ```
/// use std::time::Duration;
/// use shop::processes::ProcessDelays;
///
/// let at_once = ProcessDelays { welcome: Duration::ZERO, ..ProcessDelays::default() };
/// assert!(at_once.welcome < ProcessDelays::default().welcome);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessDelays {
    /// Delay between a user's creation and welcome.
    pub welcome: Duration,
    /// Time to pay an order from an account before it is cancelled.
    pub payment: Duration,
}

impl Default for ProcessDelays {
    fn default() -> Self {
        Self { welcome: Welcome::DELAY, payment: Fulfilment::PAYMENT_TIMEOUT }
    }
}

/// Registers every process manager of the shop.
pub fn run_all(builder: Builder, delays: ProcessDelays) -> Builder {
    builder
        .process_with(Welcome::after(delays.welcome))
        .process_with(Fulfilment::with_payment_timeout(delays.payment))
}
