//! Subscriptions: pages up to the head, then a wait for the head to rise.
//!
//! - [`deliveries`]: one subscription.
//! - [`announcements`]: how the head becomes known: from appends of this process, from
//!   notifications of others, and from looking at it now and then.
//! - [`at_head`]: the events that subscriptions at the head take together.
//!
//! A subscription has no buffer. It reads the next page when it is polled.

pub(crate) mod announcements;
mod at_head;
pub(crate) mod deliveries;
