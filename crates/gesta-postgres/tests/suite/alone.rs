//! A lone append and one in a batch get the same verdicts: two functions of the schema give them.

use gesta_postgres::PostgresStore;
use gesta_store::{
    Append, AppendCondition, Conflict, DeleteStream, EventId, EventQuery, EventStore, EventType,
    ExpectedRevision, NewEvent, Position, QueryItem, ReadAll, Revision, StoreError, Tag,
    TombstoneStream, conformance::block_on,
};
use uuid::Uuid;

use crate::server::{TestStore, name};

const STEPS: u64 = 500;
const STREAMS: u64 = 5;
/// Ids are drawn from so few that some are used again.
const IDS: u64 = 600;
const TAGS: u64 = 8;

/// An append of random events to one stream.
#[derive(Debug)]
struct Draw {
    stream: u64,
    expected: ExpectedRevision,
    ids: Vec<u64>,
    tags: Vec<u64>,
    /// Tags that the condition excludes, and its position.
    condition: Option<(Vec<u64>, u64)>,
}

impl Draw {
    fn append(&self, event_type: &str) -> Append {
        let tag = |number: &u64| Tag::of("item", &number.to_string()).unwrap();
        let event = |id: &u64| {
            let id = EventId::from(Uuid::from_u128(u128::from(*id)));
            let event_type = EventType::new(event_type).unwrap();
            NewEvent::json(id, event_type, "{}").tagged(self.tags.iter().map(tag))
        };
        let stream = name(&format!("order-{}", self.stream));
        let append = Append::to(stream, self.expected, self.ids.iter().map(event));
        let Some((tags, after)) = &self.condition else { return append };
        let mut items = tags.iter().map(|number| QueryItem::every().tagged([tag(number)]));
        let first = EventQuery::of(items.next().unwrap());
        let none_matching = items.fold(first, EventQuery::or);
        append.with_condition(AppendCondition { none_matching, after: Position::new(*after) })
    }
}

/// A sequence of numbers that its seed determines.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // Multiplier and increment of Knuth's MMIX generator; its high bits are the random ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn draw(&mut self, head: u64) -> Draw {
        let expected = match self.below(6) {
            0 => ExpectedRevision::NoStream,
            1 => ExpectedRevision::StreamExists,
            2 => ExpectedRevision::Exact(Revision::new(self.below(20))),
            _ => ExpectedRevision::Any,
        };
        let events = 1 + self.below(3);
        let ids = (0..events).map(|_| self.below(IDS)).collect();
        let tags = (0..self.below(3)).map(|_| self.below(TAGS)).collect();
        let has_condition = self.below(3) == 0;
        let condition = has_condition.then(|| {
            let tags = (0..1 + self.below(2)).map(|_| self.below(TAGS)).collect();
            // Mostly near the head, sometimes beyond it.
            (tags, (head + 2).saturating_sub(self.below(12)))
        });
        Draw { stream: self.below(STREAMS), expected, ids, tags, condition }
    }
}

/// An outcome as text, and the kind of its verdict.
fn append(store: &PostgresStore, append: Append) -> (String, usize) {
    let outcome = block_on(store.append(append));
    let kind = match &outcome {
        Ok(_) => 0,
        Err(StoreError::Conflict(Conflict::Stream { .. })) => 1,
        Err(StoreError::Conflict(Conflict::Condition { .. })) => 2,
        Err(StoreError::Conflict(_)) => 3,
        Err(StoreError::Deleted { .. }) => 4,
        Err(_) => 5,
    };
    (format!("{outcome:?}"), kind)
}

#[test]
fn a_lone_append_gets_the_verdict_of_one_in_a_batch() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let seed = EventId::random().as_uuid().as_u64_pair().1;
    let tests = [TestStore::create(&server), TestStore::create(&server)];
    let [alone, batched] = tests.each_ref().map(TestStore::open);
    let mut random = Random(seed);
    let mut kinds = [0_u32; 6];
    for step in 0..STEPS {
        let draw = random.draw(block_on(alone.head()).unwrap().position.number());
        // The function for lone appends gives no numbers to types, so a new type is not for it.
        let (of_alone, kind) = append(&alone, draw.append("known"));
        let (of_batched, _) = append(&batched, draw.append(&format!("new-{step}")));
        assert_eq!(of_alone, of_batched, "step {step} of seed {seed}: {draw:?}");
        kinds[kind] += 1;
        if step % 20 == 19 {
            let stream = name(&format!("order-{}", draw.stream));
            for store in [&alone, &batched] {
                let delete = DeleteStream::new(stream.clone(), ExpectedRevision::Any);
                drop(block_on(store.delete_stream(delete)));
            }
        }
        if step == STEPS / 2 {
            for store in [&alone, &batched] {
                let tombstone = TombstoneStream::new(name("order-0"), ExpectedRevision::Any);
                block_on(store.tombstone_stream(tombstone)).unwrap();
            }
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "seed {seed} is too small: {kinds:?}");
    let [of_alone, of_batched] = [&alone, &batched].map(contents);
    assert!(of_alone == of_batched, "seed {seed}: the stores have other events");
}

/// Returns the events, without types and times. Those of metadata have random ids.
fn contents(store: &PostgresStore) -> Vec<String> {
    let events = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    let text = |event: &gesta_store::RecordedEvent| {
        let (position, revision) = (event.position, event.revision);
        format!("{position} {} {revision} {:?} {:?}", event.stream, event.id, event.tags)
    };
    events.iter().filter(|event| !event.stream.as_str().starts_with('$')).map(text).collect()
}
