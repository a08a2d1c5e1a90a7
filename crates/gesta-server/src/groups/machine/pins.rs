//! The assignment of streams and conversations to consumers.
//!
//! Invariant: the events in flight of one bucket are with one consumer. A bucket whose consumer
//! changes has no owner until it has no event in flight, and moves then: the order of its events
//! stays, and a consumer that always has events of it in flight cannot keep it.

use super::event::ConsumerId;

const BUCKETS: usize = 1_024;

/// Buckets of pinned events, each with its consumer.
#[derive(Debug)]
pub(super) struct PinBuckets(Vec<PinBucket>);

#[derive(Clone, Copy, Debug, Default)]
struct PinBucket {
    owner: Option<ConsumerId>,
    /// The consumer that gets the bucket when nothing is in flight.
    wanted: Option<ConsumerId>,
    in_flight: u32,
}

impl PinBuckets {
    pub(super) fn new() -> Self {
        Self(vec![PinBucket::default(); BUCKETS])
    }

    pub(super) const fn bucket_of(pin: u64) -> usize {
        // The remainder is less than the number of buckets.
        (pin % BUCKETS as u64) as usize
    }

    /// Returns the consumer that gets the events of a pin; `None` while there is none, or while
    /// the bucket changes its consumer.
    pub(super) fn owner(&self, pin: u64) -> Option<ConsumerId> {
        let bucket = self.0.get(Self::bucket_of(pin))?;
        bucket.owner.filter(|_| bucket.owner == bucket.wanted)
    }

    /// Assigns the buckets to these consumers. A consumer that stays keeps most of its buckets.
    pub(super) fn rebalance(&mut self, consumers: &[ConsumerId]) {
        for (number, bucket) in self.0.iter_mut().enumerate() {
            bucket.wanted = consumers.iter().copied().max_by_key(|id| weight(number, *id));
            if bucket.in_flight == 0 {
                bucket.owner = bucket.wanted;
            }
        }
    }

    pub(super) fn sent(&mut self, pin: u64) {
        if let Some(bucket) = self.0.get_mut(Self::bucket_of(pin)) {
            bucket.in_flight += 1;
        }
    }

    /// Notes that an event is no longer in flight. Returns `true` if its bucket moved to another
    /// consumer.
    pub(super) fn returned(&mut self, pin: u64) -> bool {
        let Some(bucket) = self.0.get_mut(Self::bucket_of(pin)) else { return false };
        debug_assert!(bucket.in_flight > 0, "an event returned that was not in flight");
        bucket.in_flight = bucket.in_flight.saturating_sub(1);
        let moves = bucket.in_flight == 0 && bucket.owner != bucket.wanted;
        if moves {
            bucket.owner = bucket.wanted;
        }
        moves
    }
}

/// A hash of both numbers; the consumer with the greatest one gets the bucket (rendezvous hashing).
const fn weight(bucket: usize, consumer: ConsumerId) -> u64 {
    let mut hash = (bucket as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ consumer.0;
    // The finalizer of SplitMix64.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_consumer_gets_about_half_of_the_buckets_and_the_first_keeps_the_rest() {
        let mut pins = PinBuckets::new();
        let (one, two) = (ConsumerId(1), ConsumerId(2));
        pins.rebalance(&[one]);
        pins.rebalance(&[one, two]);
        let of_two = (0..1_024).filter(|pin| pins.owner(*pin) == Some(two)).count();
        assert!((400..624).contains(&of_two), "{of_two}");
    }

    #[test]
    fn a_bucket_with_an_event_in_flight_has_no_owner_until_the_event_returns() {
        let mut pins = PinBuckets::new();
        let (one, two) = (ConsumerId(1), ConsumerId(2));
        let of_two = pin_of(&[one, two], two);
        pins.rebalance(&[one]);
        pins.sent(of_two);
        pins.sent(of_two);
        pins.rebalance(&[one, two]);
        assert_eq!(pins.owner(of_two), None);
        assert!(!pins.returned(of_two), "another one is in flight");
        assert!(pins.returned(of_two));
        assert_eq!(pins.owner(of_two), Some(two));
    }

    #[test]
    fn a_bucket_stays_with_its_consumer_if_the_new_one_leaves_before_the_move() {
        let mut pins = PinBuckets::new();
        let (one, two) = (ConsumerId(1), ConsumerId(2));
        let of_two = pin_of(&[one, two], two);
        pins.rebalance(&[one]);
        pins.sent(of_two);
        pins.rebalance(&[one, two]);
        pins.rebalance(&[one]);
        assert_eq!(pins.owner(of_two), Some(one));
        assert!(!pins.returned(of_two), "nothing moves");
    }

    /// Returns a pin that goes to this one of the consumers.
    fn pin_of(consumers: &[ConsumerId], owner: ConsumerId) -> u64 {
        let mut pins = PinBuckets::new();
        pins.rebalance(consumers);
        (0..).find(|pin| pins.owner(*pin) == Some(owner)).unwrap()
    }
}
