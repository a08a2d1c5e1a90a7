//! The clauses of caches.

use std::time::Duration;

use uuid::Uuid;

use super::CacheFixture;
use crate::{
    BeginLoad, CacheKey, CacheScope, CachedAnswer, Incarnation, LoadTicket, LoadTurn, Position,
    QueryCache, ReadModelId,
};

const LONG: Duration = Duration::from_secs(600);

fn scope(build: u64) -> CacheScope {
    let read_model = ReadModelId { projection: "sales".to_owned(), build };
    CacheScope { read_model, incarnation: Incarnation::new(Uuid::from_u128(7)) }
}

fn key(query: &str, marks: &[&str]) -> CacheKey {
    CacheKey::new(scope(1), query, marks.iter().copied())
}

fn answer(position: u64, bytes: &'static str) -> CachedAnswer {
    CachedAnswer { position: Position::new(position), bytes: bytes.into() }
}

/// Asks for the turn to load an answer of at least this position.
async fn turn(cache: &dyn QueryCache, key: &CacheKey, at_least: u64) -> LoadTurn {
    let begin = BeginLoad::new(Position::new(at_least), LONG);
    cache.begin_load(key, begin).await.expect("the cache answers")
}

/// Begins a load that no other one hinders.
async fn begin(cache: &dyn QueryCache, key: &CacheKey) -> LoadTicket {
    match turn(cache, key, 0).await {
        LoadTurn::Load(ticket) => ticket,
        other => panic!("expected the turn to load, got {other:?}"),
    }
}

async fn put(cache: &dyn QueryCache, key: &CacheKey, stored: CachedAnswer) {
    let ticket = begin(cache, key).await;
    cache.store(key, ticket, stored, LONG).await;
}

async fn find(cache: &dyn QueryCache, key: &CacheKey, at_least: u64) -> Option<CachedAnswer> {
    cache.get(key, Position::new(at_least)).await.expect("the cache answers")
}

async fn mark(cache: &dyn QueryCache, marks: &[&str], position: u64) {
    let marks: Vec<String> = marks.iter().map(|&mark| mark.to_owned()).collect();
    let marked = cache.mark(&scope(1), &marks, Position::new(position)).await;
    marked.expect("the cache answers");
}

pub(super) async fn an_answer_comes_back_with_its_position(fixture: &CacheFixture) {
    let cache = (fixture.connect)();
    for (query, bytes) in [("a", "{\"total\":7}"), ("b", ""), ("c", "\u{0}\r\n{}é")] {
        let (key, stored) = (key(query, &["*"]), answer(u64::MAX - 1, bytes));
        assert_eq!(find(&*cache, &key, 0).await, None, "nothing is there at first");
        put(&*cache, &key, stored.clone()).await;
        assert_eq!(find(&*cache, &key, 0).await, Some(stored));
    }
}

pub(super) async fn an_answer_is_kept_from_callers_that_ask_for_a_later_position(
    fixture: &CacheFixture,
) {
    let (cache, key) = ((fixture.connect)(), key("a", &["*"]));
    put(&*cache, &key, answer(10, "ten")).await;
    assert_eq!(find(&*cache, &key, 10).await, Some(answer(10, "ten")));
    assert_eq!(find(&*cache, &key, 11).await, None);
    assert_eq!(find(&*cache, &key, 9).await, Some(answer(10, "ten")), "as numbers, not as texts");
}

pub(super) async fn a_mark_ends_the_answers_that_depend_on_it(fixture: &CacheFixture) {
    let cache = (fixture.connect)();
    let (of_ann, of_bob) = (key("a", &["=ann"]), key("c", &["=bob"]));
    let of_both = key("b", &["=ann", "=bob"]);
    for key in [&of_ann, &of_bob, &of_both] {
        put(&*cache, key, answer(9, "nine")).await;
    }
    mark(&*cache, &["*", "=bob"], 10).await;
    assert_eq!(find(&*cache, &of_bob, 0).await, None);
    assert_eq!(find(&*cache, &of_both, 0).await, None);
    assert_eq!(find(&*cache, &of_ann, 0).await, Some(answer(9, "nine")));
}

pub(super) async fn a_mark_at_the_position_of_an_answer_leaves_it(fixture: &CacheFixture) {
    let (cache, key) = ((fixture.connect)(), key("a", &["*"]));
    put(&*cache, &key, answer(10, "ten")).await;
    mark(&*cache, &["*"], 10).await;
    assert_eq!(find(&*cache, &key, 0).await, Some(answer(10, "ten")));
}

pub(super) async fn the_mark_of_everything_ends_every_answer(fixture: &CacheFixture) {
    let cache = (fixture.connect)();
    let keys = [key("a", &["=ann"]), key("b", &["*"]), key("c", &[])];
    for key in &keys {
        put(&*cache, key, answer(9, "nine")).await;
    }
    mark(&*cache, &[CacheKey::EVERYTHING, "*"], 10).await;
    for key in &keys {
        assert_eq!(find(&*cache, key, 0).await, None, "{key:?}");
    }
}

pub(super) async fn a_mark_never_goes_back(fixture: &CacheFixture) {
    let (cache, key) = ((fixture.connect)(), key("a", &["*"]));
    put(&*cache, &key, answer(9, "nine")).await;
    mark(&*cache, &["*"], 10).await;
    mark(&*cache, &["*"], 5).await;
    assert_eq!(find(&*cache, &key, 0).await, None);
}

pub(super) async fn an_answer_read_before_a_mark_and_stored_after_it_is_not_returned(
    fixture: &CacheFixture,
) {
    let (cache, key) = ((fixture.connect)(), key("a", &["*"]));
    let ticket = begin(&*cache, &key).await;
    mark(&*cache, &["*"], 10).await;
    cache.store(&key, ticket, answer(9, "nine"), LONG).await;
    assert_eq!(find(&*cache, &key, 0).await, None);
}

pub(super) async fn an_answer_read_after_a_change_is_returned(fixture: &CacheFixture) {
    let (cache, key) = ((fixture.connect)(), key("a", &["*"]));
    put(&*cache, &key, answer(9, "nine")).await;
    mark(&*cache, &["*"], 10).await;
    put(&*cache, &key, answer(10, "ten")).await;
    assert_eq!(find(&*cache, &key, 10).await, Some(answer(10, "ten")));
}

pub(super) async fn a_reset_ends_the_answers_of_a_scope(fixture: &CacheFixture) {
    let cache = (fixture.connect)();
    let keys = [key("a", &["=ann"]), key("b", &["*"]), key("c", &[])];
    for key in &keys {
        put(&*cache, key, answer(9, "nine")).await;
    }
    cache.reset(&scope(1)).await;
    for key in &keys {
        assert_eq!(find(&*cache, key, 0).await, None, "{key:?}");
    }
    // The marks that are made anew are others.
    let one = begin(&*cache, &keys[0]).await;
    for key in &keys {
        assert_eq!(find(&*cache, key, 0).await, None, "{key:?}");
    }
    cache.store(&keys[0], one, answer(9, "again"), LONG).await;
    assert_eq!(find(&*cache, &keys[0], 0).await, Some(answer(9, "again")));
}

pub(super) async fn an_answer_that_is_loaded_during_a_reset_is_not_returned(
    fixture: &CacheFixture,
) {
    let (cache, loaded, other) = ((fixture.connect)(), key("a", &["*"]), key("b", &["*"]));
    let ticket = begin(&*cache, &loaded).await;
    cache.reset(&scope(1)).await;
    put(&*cache, &other, answer(9, "nine")).await;
    cache.store(&loaded, ticket, answer(9, "nine"), LONG).await;
    assert_eq!(find(&*cache, &loaded, 0).await, None);
    assert_eq!(find(&*cache, &other, 0).await, Some(answer(9, "nine")));
}

pub(super) async fn answers_of_other_scopes_stay(fixture: &CacheFixture) {
    let (cache, one) = ((fixture.connect)(), key("a", &["*"]));
    let other_build = CacheKey { scope: scope(2), ..one.clone() };
    let incarnation = Incarnation::new(Uuid::from_u128(8));
    let other_life = CacheKey { scope: CacheScope { incarnation, ..scope(1) }, ..one.clone() };
    put(&*cache, &one, answer(9, "one")).await;
    assert_eq!(find(&*cache, &other_build, 0).await, None);
    assert_eq!(find(&*cache, &other_life, 0).await, None);
    put(&*cache, &other_build, answer(8, "two")).await;
    put(&*cache, &other_life, answer(7, "three")).await;
    mark(&*cache, &["*"], 10).await;
    cache.reset(&scope(1)).await;
    assert_eq!(find(&*cache, &one, 0).await, None);
    assert_eq!(find(&*cache, &other_build, 0).await, Some(answer(8, "two")));
    assert_eq!(find(&*cache, &other_life, 0).await, Some(answer(7, "three")));
}

pub(super) async fn answers_of_other_queries_stay(fixture: &CacheFixture) {
    let (cache, one, two) = ((fixture.connect)(), key("a", &["*"]), key("b", &["*"]));
    put(&*cache, &one, answer(9, "one")).await;
    assert_eq!(find(&*cache, &two, 0).await, None);
    put(&*cache, &two, answer(8, "two")).await;
    assert_eq!(find(&*cache, &one, 0).await, Some(answer(9, "one")));
    assert_eq!(find(&*cache, &two, 0).await, Some(answer(8, "two")));
}

pub(super) async fn answers_with_other_marks_are_not_mixed_up(fixture: &CacheFixture) {
    let cache = (fixture.connect)();
    let (before, after) = (key("a", &["=ann"]), key("a", &["=ann", "=bob"]));
    put(&*cache, &before, answer(9, "one")).await;
    begin(&*cache, &after).await;
    // A program that names other groups for the same query does not use the answer.
    assert_eq!(find(&*cache, &after, 0).await, None);
}

pub(super) async fn a_later_load_takes_the_place_of_an_answer(fixture: &CacheFixture) {
    let (cache, key) = ((fixture.connect)(), key("a", &["*"]));
    put(&*cache, &key, answer(9, "nine")).await;
    let LoadTurn::Load(ticket) = turn(&*cache, &key, 12).await else {
        panic!("the answer is older than asked for");
    };
    cache.store(&key, ticket, answer(12, "twelve"), LONG).await;
    assert_eq!(find(&*cache, &key, 12).await, Some(answer(12, "twelve")));
}

pub(super) async fn an_answer_ends_after_its_time_to_live(fixture: &CacheFixture) {
    let (cache, key) = ((fixture.connect)(), key("a", &["*"]));
    let ticket = begin(&*cache, &key).await;
    cache.store(&key, ticket, answer(9, "nine"), Duration::from_millis(20)).await;
    // The loop ends with the time, or the clause fails by its limit.
    while find(&*cache, &key, 0).await.is_some() {}
    put(&*cache, &key, answer(9, "again")).await;
    assert_eq!(find(&*cache, &key, 0).await, Some(answer(9, "again")));
}

pub(super) async fn an_abandoned_load_leaves_the_turn_to_others(fixture: &CacheFixture) {
    let (one, two, key) = ((fixture.connect)(), (fixture.connect)(), key("a", &["*"]));
    let ticket = begin(&*one, &key).await;
    one.abandon(&key, ticket).await;
    put(&*two, &key, answer(9, "nine")).await;
    assert_eq!(find(&*two, &key, 0).await, Some(answer(9, "nine")));
}

pub(super) async fn one_of_two_nodes_loads(fixture: &CacheFixture) {
    let (one, two, key) = ((fixture.connect)(), (fixture.connect)(), key("a", &["*"]));
    let ticket = begin(&*one, &key).await;
    // A cache of one process leaves this to its caller.
    if !one.is_shared() {
        return;
    }
    assert_eq!(turn(&*two, &key, 0).await, LoadTurn::Busy);
    one.store(&key, ticket, answer(9, "nine"), LONG).await;
    assert_eq!(turn(&*two, &key, 9).await, LoadTurn::Answer(answer(9, "nine")));
    assert_eq!(find(&*two, &key, 0).await, Some(answer(9, "nine")));
    mark(&*two, &["*"], 10).await;
    assert!(matches!(turn(&*two, &key, 0).await, LoadTurn::Load(_)), "the turn is free again");
}

pub(super) async fn a_node_that_asks_for_more_loads_as_well(fixture: &CacheFixture) {
    let (one, two, key) = ((fixture.connect)(), (fixture.connect)(), key("a", &["*"]));
    let expecting = BeginLoad::new(Position::START, LONG).expecting(Position::new(9));
    let LoadTurn::Load(first) = one.begin_load(&key, expecting).await.expect("it answers") else {
        panic!("nothing is loaded yet");
    };
    let LoadTurn::Load(second) = turn(&*two, &key, 10).await else {
        panic!("the first answer will not do");
    };
    two.store(&key, second, answer(10, "ten"), LONG).await;
    if one.is_shared() {
        // The end of the second load leaves the turn of the first one alone.
        assert_eq!(turn(&*two, &key, 0).await, LoadTurn::Answer(answer(10, "ten")));
    }
    one.store(&key, first, answer(9, "nine"), LONG).await;
    assert_eq!(find(&*two, &key, 9).await, Some(answer(9, "nine")));
}
