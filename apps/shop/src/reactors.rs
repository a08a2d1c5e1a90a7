//! All reactors of the shop, in one list.

use gesta::{Begin, Builder};

use crate::{outbox::Outbox, users::WelcomeMail};

/// Registers every reactor of the shop.
pub fn run_all(builder: Builder, outbox: Outbox) -> Builder {
    // From now on: users who were welcomed before there was a mail get none.
    builder.react(WelcomeMail::to(outbox), Begin::Now)
}
