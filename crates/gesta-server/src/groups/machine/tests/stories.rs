//! Stories of one group, each about one rule.

use super::*;

const ONE: ConsumerId = ConsumerId(1);
const TWO: ConsumerId = ConsumerId(2);

fn feed(machine: &mut Machine, places: impl IntoIterator<Item = u64>) {
    places.into_iter().for_each(|place| machine.feed(event(place, place), Duration::ZERO));
}

/// Returns place and consumer of each delivery among the effects.
fn delivered(machine: &mut Machine) -> Vec<(u64, u64)> {
    let deliveries = machine.take_effects().into_iter().filter_map(|effect| match effect {
        Effect::Deliver { consumer, payload, .. } => Some((payload, consumer.0)),
        _ => None,
    });
    deliveries.collect()
}

fn checkpoints(machine: &mut Machine) -> Vec<u64> {
    let checkpoints = machine.take_effects().into_iter().filter_map(|effect| match effect {
        Effect::Checkpoint { place } => Some(place),
        _ => None,
    });
    checkpoints.collect()
}

#[test]
fn events_go_to_consumers_in_turn() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 10, Duration::ZERO).unwrap();
    machine.connect(TWO, 10, Duration::ZERO).unwrap();
    feed(&mut machine, 1..=4);
    assert_eq!(delivered(&mut machine), [(1, 1), (2, 2), (3, 1), (4, 2)]);
}

#[test]
fn a_single_consumer_gets_events_until_its_slots_are_taken() {
    let mut machine = machine(Strategy::DispatchToSingle);
    machine.connect(ONE, 2, Duration::ZERO).unwrap();
    machine.connect(TWO, 2, Duration::ZERO).unwrap();
    feed(&mut machine, 1..=5);
    assert_eq!(delivered(&mut machine), [(1, 1), (2, 1), (3, 2), (4, 2)]);
    machine.ack(ONE, &[id(1)], Duration::ZERO);
    assert_eq!(delivered(&mut machine), [(5, 1)]);
}

#[test]
fn an_event_without_an_answer_goes_to_another_consumer_if_one_is_free() {
    for strategy in [Strategy::DispatchToSingle, Strategy::RoundRobin] {
        let mut machine = machine(strategy);
        machine.connect(ONE, 2, Duration::ZERO).unwrap();
        machine.connect(TWO, 2, Duration::ZERO).unwrap();
        feed(&mut machine, [1]);
        assert_eq!(delivered(&mut machine), [(1, 1)]);
        machine.tick(30 * SECOND);
        assert_eq!(delivered(&mut machine), [(1, 2)]);
        machine.disconnect(ONE, 31 * SECOND);
        machine.tick(60 * SECOND);
        assert_eq!(delivered(&mut machine), [(1, 2)], "there is no other");
    }
}

#[test]
fn a_busy_consumer_of_pinned_events_holds_up_only_its_own() {
    let mut machine = machine(Strategy::Pinned);
    machine.connect(ONE, 1, Duration::ZERO).unwrap();
    machine.connect(TWO, 1, Duration::ZERO).unwrap();
    let owner = |machine: &Machine, pin| machine.pins.as_ref().unwrap().owner(pin).unwrap();
    let of_one = (0..).find(|pin| owner(&machine, *pin) == ONE).unwrap();
    let of_two = (0..).find(|pin| owner(&machine, *pin) == TWO).unwrap();
    for (place, pin) in [(1, of_one), (2, of_one), (3, of_two)] {
        machine.feed(event(place, pin), Duration::ZERO);
    }
    assert_eq!(delivered(&mut machine), [(1, 1), (3, 2)]);
    machine.ack(ONE, &[id(1)], Duration::ZERO);
    assert_eq!(delivered(&mut machine), [(2, 1)]);
}

#[test]
fn a_second_consumer_gets_pinned_events_of_a_busy_one_in_their_order() {
    let mut machine = machine(Strategy::Pinned);
    machine.connect(ONE, 2, Duration::ZERO).unwrap();
    let pin = (0..).find(|pin| goes_to(*pin, TWO)).unwrap();
    for place in 1..=4 {
        machine.feed(event(place, pin), Duration::ZERO);
    }
    assert_eq!(delivered(&mut machine), [(1, 1), (2, 1)]);
    machine.connect(TWO, 2, Duration::ZERO).unwrap();
    machine.ack(ONE, &[id(1)], Duration::ZERO);
    assert_eq!(delivered(&mut machine), [], "one event is in flight");
    machine.ack(ONE, &[id(2)], Duration::ZERO);
    assert_eq!(delivered(&mut machine), [(3, 2), (4, 2)]);
}

#[test]
fn an_event_that_returns_while_its_stream_changes_the_consumer_comes_first() {
    let mut machine = machine(Strategy::Pinned);
    machine.connect(ONE, 2, Duration::ZERO).unwrap();
    let pin = (0..).find(|pin| goes_to(*pin, TWO)).unwrap();
    for place in 1..=3 {
        machine.feed(event(place, pin), Duration::ZERO);
    }
    machine.take_effects();
    machine.connect(TWO, 3, Duration::ZERO).unwrap();
    machine.nack(ONE, &[id(1)], (NackAction::Retry, ""), SECOND);
    assert_eq!(delivered(&mut machine), []);
    machine.nack(ONE, &[id(2)], (NackAction::Retry, ""), SECOND);
    assert_eq!(delivered(&mut machine), [(1, 2), (2, 2), (3, 2)]);
}

/// Returns `true` if a pin goes to this one of both consumers.
fn goes_to(pin: u64, consumer: ConsumerId) -> bool {
    let mut pins = PinBuckets::new();
    pins.rebalance(&[ONE, TWO]);
    pins.owner(pin) == Some(consumer)
}

#[test]
fn an_event_without_an_answer_returns_after_the_timeout_and_is_parked_after_its_retries() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 10, Duration::ZERO).unwrap();
    feed(&mut machine, [7]);
    assert_eq!(machine.next_tick(), Some(30 * SECOND));
    for failed in 1..=2 {
        machine.take_effects();
        machine.tick(failed * 30 * SECOND);
        let effects = machine.take_effects();
        let key = EventKey::Source(7);
        let again = Effect::Deliver { consumer: ONE, key, payload: 7, retries: failed };
        assert_eq!(effects, [again], "after {failed}");
    }
    machine.tick(90 * SECOND);
    let reason = ParkReason::Retries { max: 2 };
    let park = Effect::Park { key: EventKey::Source(7), payload: 7, reason };
    assert_eq!(machine.take_effects(), [park]);
    machine.tick(900 * SECOND);
    assert_eq!(machine.take_effects(), [], "it is parked once");
}

#[test]
fn a_late_acknowledgement_counts_while_the_event_waits() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 1, Duration::ZERO).unwrap();
    feed(&mut machine, [1, 2]);
    assert_eq!(delivered(&mut machine), [(1, 1)]);
    machine.undelivered(ONE, EventKey::Source(1), SECOND);
    machine.ack(ONE, &[id(1)], SECOND);
    machine.resume(ONE, SECOND);
    assert_eq!(delivered(&mut machine), [(2, 1)]);
}

#[test]
fn events_of_a_consumer_that_leaves_go_to_another_before_later_ones() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 2, Duration::ZERO).unwrap();
    feed(&mut machine, 1..=4);
    assert_eq!(delivered(&mut machine), [(1, 1), (2, 1)]);
    machine.disconnect(ONE, SECOND);
    machine.connect(TWO, 3, SECOND).unwrap();
    assert_eq!(delivered(&mut machine), [(1, 2), (2, 2), (3, 2)]);
}

#[test]
fn a_checkpoint_stops_before_an_event_that_is_not_acknowledged_or_not_yet_parked() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 20, Duration::ZERO).unwrap();
    feed(&mut machine, 1..=12);
    machine.nack(ONE, &[id(8)], (NackAction::Park, "broken"), SECOND);
    machine.take_effects();
    let acked: Vec<_> = (1..=12).filter(|place| ![3, 8].contains(place)).map(id).collect();
    machine.ack(ONE, &acked, SECOND);
    assert_eq!(checkpoints(&mut machine), [2]);
    machine.checkpointed(SECOND);
    machine.ack(ONE, &[id(3)], 2 * SECOND);
    machine.tick(9 * SECOND);
    assert_eq!(checkpoints(&mut machine), [7]);
    machine.checkpointed(9 * SECOND);
    machine.parked(EventKey::Source(8), 9 * SECOND);
    assert_eq!(machine.last_checkpoint(), Some(12));
}

#[test]
fn few_events_wait_for_the_time_and_the_minimum_of_a_checkpoint() {
    let mut rules = rules(Strategy::RoundRobin);
    rules.checkpoint_min = 3;
    let mut machine = Machine::new(rules, GroupStart::default(), Duration::ZERO);
    machine.connect(ONE, 20, Duration::ZERO).unwrap();
    feed(&mut machine, 1..=3);
    machine.ack(ONE, &[id(1), id(2)], SECOND);
    machine.tick(60 * SECOND);
    assert_eq!(checkpoints(&mut machine), [0; 0], "two are too few");
    machine.ack(ONE, &[id(3)], 60 * SECOND);
    assert_eq!(checkpoints(&mut machine), [3]);
}

#[test]
fn a_failed_checkpoint_is_written_later() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 20, Duration::ZERO).unwrap();
    feed(&mut machine, 1..=2);
    machine.ack(ONE, &[id(1), id(2)], 3 * SECOND);
    assert_eq!(checkpoints(&mut machine), [2]);
    machine.checkpoint_failed();
    machine.tick(4 * SECOND);
    assert_eq!(checkpoints(&mut machine), [0; 0]);
    machine.tick(5 * SECOND);
    assert_eq!(checkpoints(&mut machine), [2]);
}

#[test]
fn places_that_a_filter_has_passed_are_checkpointed_when_they_are_many() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.pass(EventKey::Source(400), 5 * SECOND);
    assert_eq!(checkpoints(&mut machine), [0; 0]);
    machine.pass(EventKey::Source(2_000), 5 * SECOND);
    assert_eq!(checkpoints(&mut machine), [2_000]);
}

#[test]
fn parked_events_stay_until_all_before_them_are_finished() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 20, Duration::ZERO).unwrap();
    for revision in 0..3 {
        let key = EventKey::Replayed(revision);
        let id = id(revision + 100);
        machine.feed(GroupEvent { key, id, pin: 0, bytes: 1, payload: revision }, SECOND);
    }
    machine.take_effects();
    machine.ack(ONE, &[id(102), id(101)], SECOND);
    assert_eq!(machine.take_effects(), []);
    machine.ack(ONE, &[id(100)], SECOND);
    assert_eq!(machine.take_effects(), [Effect::Truncate { before: 3 }]);
}

#[test]
fn a_consumer_beyond_the_maximum_is_refused() {
    let mut rules = rules(Strategy::RoundRobin);
    rules.consumers_max = Some(1);
    let mut machine = Machine::new(rules, GroupStart::default(), Duration::ZERO);
    machine.connect(ONE, 1, Duration::ZERO).unwrap();
    assert_eq!(machine.connect(TWO, 1, Duration::ZERO), Err(TooManyConsumers));
    machine.disconnect(ONE, SECOND);
    assert_eq!(machine.connect(TWO, 1, SECOND), Ok(()));
}

#[test]
fn large_events_fill_a_group_before_many_do() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 20, Duration::ZERO).unwrap();
    let huge = GroupEvent { bytes: HELD_BYTES_MAX, ..event(1, 1) };
    machine.feed(huge, Duration::ZERO);
    assert_eq!(machine.room(), 0);
    machine.ack(ONE, &[id(1)], SECOND);
    assert!(machine.room() > 0);
}

#[test]
fn events_without_content_fill_a_group_at_last() {
    let rules = GroupRules { history_buffer: usize::MAX, ..rules(Strategy::RoundRobin) };
    let mut machine = Machine::new(rules, GroupStart::default(), Duration::ZERO);
    machine.connect(ONE, 1, Duration::ZERO).unwrap();
    let mut held = 0;
    while machine.room() > 0 && held < 1_000_000 {
        held += 1;
        machine.feed(GroupEvent { bytes: 0, ..event(held, 1) }, Duration::ZERO);
    }
    assert_eq!(held, (HELD_BYTES_MAX / EVENT_OVERHEAD_BYTES) as u64);
}

#[test]
fn a_consumer_that_stops_is_dropped_and_its_events_go_to_others() {
    let mut machine = machine(Strategy::DispatchToSingle);
    machine.connect(ONE, 5, Duration::ZERO).unwrap();
    machine.connect(TWO, 5, Duration::ZERO).unwrap();
    feed(&mut machine, [1, 2]);
    machine.take_effects();
    machine.nack(ONE, &[id(1)], (NackAction::Stop, ""), SECOND);
    let effects = machine.take_effects();
    assert_eq!(effects.first(), Some(&Effect::Drop { consumer: ONE }));
    assert_eq!(effects.len(), 3, "both events are delivered again: {effects:?}");
}

#[test]
fn the_times_of_answers_are_measured_if_the_group_has_extra_statistics() {
    let mut machine = machine(Strategy::RoundRobin);
    machine.connect(ONE, 10, Duration::ZERO).unwrap();
    feed(&mut machine, 1..=3);
    machine.ack(ONE, &[id(1)], 2 * SECOND);
    machine.nack(ONE, &[id(2)], (NackAction::Skip, ""), 4 * SECOND);
    let latencies =
        |machine: &mut Machine| machine.figures(4 * SECOND).consumers.remove(0).1.latencies;
    let measured = latencies(&mut machine);
    assert!(measured.contains(&("Fastest", 2_000)) && measured.contains(&("Highest", 4_000)));

    let rules = GroupRules { extra_statistics: false, ..rules(Strategy::RoundRobin) };
    let mut unmeasured = Machine::new(rules, GroupStart::default(), Duration::ZERO);
    unmeasured.connect(ONE, 10, Duration::ZERO).unwrap();
    feed(&mut unmeasured, [1]);
    unmeasured.ack(ONE, &[id(1)], SECOND);
    assert!(latencies(&mut unmeasured).is_empty());
}
