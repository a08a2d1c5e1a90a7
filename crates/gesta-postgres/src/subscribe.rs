//! Subscriptions: pages up to the head, then a wait for the head to rise.
//!
//! - [`deliveries`]: one subscription.
//! - [`announcements`]: how the head becomes known: from appends of this process, from
//!   notifications of others, and from looking at it now and then.
//!
//! A subscription has no buffer. It reads the next page when it is polled.

pub(crate) mod announcements;
pub(crate) mod deliveries;
