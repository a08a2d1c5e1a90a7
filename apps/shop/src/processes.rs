//! What happens by itself: every process manager of the shop, in one list.

use std::time::Duration;

use gesta::Builder;

use crate::{orders::Fulfilment, users::Welcome};

/// How long processes wait.
///
/// ```
/// use std::time::Duration;
/// use shop::processes::Waits;
///
/// let at_once = Waits { welcome: Duration::ZERO, ..Waits::default() };
/// assert!(at_once.welcome < Waits::default().welcome);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Before a new user is welcomed.
    pub welcome: Duration,
    /// For the payment of an order that is paid from an account.
    pub payment: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { welcome: Welcome::DELAY, payment: Fulfilment::PAY_WITHIN }
    }
}

/// Runs every process manager of the shop.
pub fn run_all(builder: Builder, waits: Waits) -> Builder {
    builder
        .process_with(Welcome::after(waits.welcome))
        .process_with(Fulfilment::paying_within(waits.payment))
}
