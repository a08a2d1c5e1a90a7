//! Cached queries: when they are answered from the cache, and that no answer is too old.

mod shop;

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use gesta::{
    Caching, Component, Gesta, MemoryQueryCache, Position, Projection, QueryCacheCounts, RowGroups,
    store::{
        CacheKey, CacheScope, DeleteStream, ExpectedRevision, Incarnation, LoadTurn, MemoryLeases,
        MemoryReadModels, QueryCache, ReadModelId, conformance::query_cache::CacheFixture,
        memory::MemoryStore,
    },
    testing::VirtualClock,
};

use self::shop::{
    CacheFault, Control, FaultyCache, Sales, SoldOf, SoldTotal, UNLUCKY, find, find_gated, open,
    open_with, sell, shop_with, total,
};
use crate::bank::operator;

mod contract {
    use super::*;

    gesta_store::query_cache_conformance!(|| {
        let cache = MemoryQueryCache::new();
        CacheFixture::new(move || Box::new(cache.clone()))
    });
}

fn counts(gesta: &Gesta) -> (u64, u64, u64) {
    let QueryCacheCounts { hits, loads, bypasses, .. } = gesta.query_cache_counts();
    (hits, loads, bypasses)
}

#[tokio::test]
async fn a_query_is_answered_from_the_cache_until_its_rows_change() {
    let gesta = open().await;
    let ann = sell(&gesta, "ann", 5).await;
    assert_eq!(find(&gesta, "ann", ann.position).await, 5);
    assert_eq!(counts(&gesta), (0, 1, 0));
    assert_eq!(find(&gesta, "ann", ann.position).await, 5);
    assert_eq!(counts(&gesta), (1, 1, 0));
    let bob = sell(&gesta, "bob", 7).await;
    gesta.wait_for::<Sales>(&bob).await.unwrap();
    assert_eq!(find(&gesta, "ann", Position::START).await, 5, "rows of another customer");
    assert_eq!(counts(&gesta), (2, 1, 0));
    let more = sell(&gesta, "ann", 10).await;
    gesta.wait_for::<Sales>(&more).await.unwrap();
    assert_eq!(find(&gesta, "ann", Position::START).await, 15);
    assert_eq!(counts(&gesta), (2, 2, 0));
}

#[tokio::test]
async fn a_query_of_all_rows_ends_with_any_change() {
    let gesta = open().await;
    let mut expected = 0;
    for amount in [3, 4, 5] {
        expected += amount;
        let receipt = sell(&gesta, &amount.to_string(), amount).await;
        gesta.wait_for::<Sales>(&receipt).await.unwrap();
        assert_eq!(total(&gesta, Position::START).await, expected);
        assert_eq!(total(&gesta, Position::START).await, expected);
    }
    assert_eq!(counts(&gesta), (3, 3, 0));
}

#[tokio::test]
async fn a_query_is_cached_only_if_it_opts_in_and_there_is_a_cache() {
    let gesta = open().await;
    let receipt = sell(&gesta, "ann", 5).await;
    let ask = || gesta.ask(SoldOf("ann".to_owned())).at_least(&receipt);
    for _ in 0..3 {
        assert_eq!(ask().uncached().await.unwrap(), 5);
        assert_eq!(gesta.ask(shop::Customers).await.unwrap(), ["customer-ann"]);
    }
    assert_eq!(counts(&gesta), (0, 0, 0));
    let without = Gesta::at("memory:").project(Sales::default(), &MemoryReadModels::new());
    let without = without.open().await.unwrap();
    let receipt = sell(&without, "ann", 5).await;
    assert_eq!(find(&without, "ann", receipt.position).await, 5);
    assert_eq!(counts(&without), (0, 0, 0));
}

#[tokio::test]
async fn an_answer_has_the_position_that_it_reflects() {
    let gesta = open().await;
    let first = sell(&gesta, "ann", 5).await;
    let ask = || gesta.ask(SoldOf("ann".to_owned()));
    let fresh = ask().at_least(&first).with_position().await.unwrap();
    assert!(fresh.position >= first.position);
    let later = sell(&gesta, "bob", 5).await;
    gesta.wait_for::<Sales>(&later).await.unwrap();
    let cached = ask().with_position().await.unwrap();
    assert_eq!(cached, fresh, "the position at which it was read, and not that of the read model");
    let asked = ask().at_least(&later).with_position().await.unwrap();
    assert!(asked.position >= later.position);
    assert_eq!(asked.answer, 5);
}

#[tokio::test]
async fn one_caller_loads_and_the_others_wait() {
    let control = Control::gated();
    let gesta = shop_with(&control, Arc::new(MemoryQueryCache::new())).await;
    let receipt = sell(&gesta, "ann", 5).await;
    let ask = || find_gated(&gesta, &control, receipt.position);
    let first = ask();
    control.until_reading().await;
    let others: Vec<_> = (0..7).map(|_| ask()).collect();
    // All of them get as far as they can on this thread.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    control.let_read(1);
    assert_eq!(first.await.unwrap(), 5);
    for other in others {
        assert_eq!(other.await.unwrap(), 5);
    }
    assert_eq!(counts(&gesta), (7, 1, 0));
}

#[tokio::test]
async fn a_caller_that_asks_for_more_does_not_wait_for_an_older_answer() {
    let control = Control::gated();
    let gesta = shop_with(&control, Arc::new(MemoryQueryCache::new())).await;
    let before = sell(&gesta, "ann", 5).await;
    let early = find_gated(&gesta, &control, before.position);
    control.until_reading().await;
    let after = sell(&gesta, "ann", 6).await;
    let late = find_gated(&gesta, &control, after.position);
    // It reads while the first one still does.
    control.until_reading().await;
    control.let_read(10);
    assert_eq!(late.await.unwrap(), 11);
    assert_eq!(early.await.unwrap(), 5, "it has read before");
    assert_eq!(find_gated(&gesta, &control, after.position).await.unwrap(), 11);
}

#[tokio::test]
async fn a_load_that_is_dropped_leaves_the_next_caller_free() {
    let control = Control::gated();
    let gesta = shop_with(&control, Arc::new(MemoryQueryCache::new())).await;
    let receipt = sell(&gesta, "ann", 5).await;
    let dropped = find_gated(&gesta, &control, receipt.position);
    control.until_reading().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    control.let_read(2);
    assert_eq!(find_gated(&gesta, &control, receipt.position).await.unwrap(), 5);
}

#[tokio::test]
async fn an_answer_that_was_read_before_a_change_is_not_kept_after_it() {
    let control = Control::gated();
    let gesta = shop_with(&control, Arc::new(MemoryQueryCache::new())).await;
    let before = sell(&gesta, "ann", 5).await;
    let early = find_gated(&gesta, &control, before.position);
    control.until_reading().await;
    let after = sell(&gesta, "ann", 6).await;
    gesta.wait_for::<Sales>(&after).await.unwrap();
    control.let_read(10);
    assert_eq!(early.await.unwrap(), 5, "it has read before");
    assert_eq!(find_gated(&gesta, &control, Position::START).await.unwrap(), 11);
}

#[tokio::test]
async fn the_end_of_a_stream_ends_cached_answers() {
    let gesta = open().await;
    let receipt = sell(&gesta, "ann", 5).await;
    assert_eq!(find(&gesta, "ann", receipt.position).await, 5);
    let delete = DeleteStream::new(
        gesta::StreamName::new("customer-ann").unwrap(),
        ExpectedRevision::StreamExists,
    );
    gesta.store().delete_stream(delete).await.unwrap();
    let end = gesta.store().head().await.unwrap().position;
    gesta.wait_for_position::<Sales>(end).await.unwrap();
    assert_eq!(find(&gesta, "ann", Position::START).await, 0);
}

#[tokio::test]
async fn a_dead_letter_that_is_retried_ends_cached_answers() {
    let control = Control::open();
    let gesta = shop_with(&control, Arc::new(MemoryQueryCache::new())).await;
    sell(&gesta, "ann", 5).await;
    let unlucky = sell(&gesta, "ann", UNLUCKY).await;
    gesta.wait_for::<Sales>(&unlucky).await.unwrap();
    assert_eq!(find(&gesta, "ann", unlucky.position).await, 5);
    control.is_fixed.store(true, Ordering::SeqCst);
    let letters = gesta.dead_letters().await.unwrap();
    gesta.retry_dead_letter(&letters[0].0, &operator()).await.unwrap();
    assert_eq!(find(&gesta, "ann", unlucky.position).await, 5 + UNLUCKY);
}

#[tokio::test]
async fn a_rebuild_has_answers_of_its_own() {
    let control = Control::open();
    let gesta = shop_with(&control, Arc::new(MemoryQueryCache::new())).await;
    let receipt = sell(&gesta, "ann", 5).await;
    assert_eq!(find(&gesta, "ann", receipt.position).await, 5);
    // The program changed without a new version of the projection.
    control.factor.store(10, Ordering::SeqCst);
    gesta.rebuild(Sales::NAME, &operator()).await.unwrap();
    while gesta.projections().await.unwrap()[0].old_rows.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(find(&gesta, "ann", receipt.position).await, 50);
}

#[tokio::test]
async fn a_cache_that_does_not_answer_is_left_out_and_reported() {
    let cache = FaultyCache::new(CacheFault::Down);
    let gesta = shop_with(&Control::open(), cache.clone()).await;
    let receipt = sell(&gesta, "ann", 5).await;
    for _ in 0..3 {
        assert_eq!(find(&gesta, "ann", receipt.position).await, 5);
    }
    assert_eq!(counts(&gesta), (0, 0, 3));
    let cause = gesta.health().await.causes.remove(0);
    assert_eq!((cause.component, cause.code()), (Component::QueryCache, cause.code()));
    assert_eq!(cause.code(), "query-cache-unavailable");
    cache.repair();
    assert_eq!(find(&gesta, "ann", receipt.position).await, 5);
    assert_eq!(gesta.health().await.worst(), None);
}

/// The mark of a change is missing while the cache is down, so the answers from before must go once
/// it is back.
#[tokio::test]
async fn a_change_during_an_outage_ends_answers_from_before() {
    let cache = FaultyCache::new(CacheFault::None);
    let gesta = shop_with(&Control::open(), cache.clone()).await;
    let receipt = sell(&gesta, "ann", 5).await;
    assert_eq!(find(&gesta, "ann", receipt.position).await, 5);
    cache.break_by(CacheFault::Down);
    let receipt = sell(&gesta, "ann", 6).await;
    gesta.wait_for::<Sales>(&receipt).await.unwrap();
    cache.repair();
    assert_eq!(find(&gesta, "ann", Position::START).await, 11);
}

#[tokio::test]
async fn an_inline_projection_ends_cached_answers_with_the_append() {
    for fault in [CacheFault::None, CacheFault::LosesMarks] {
        let cache = FaultyCache::new(fault);
        let builder = open_with(&Arc::new(MemoryStore::new()), cache);
        let models = MemoryReadModels::new();
        let gesta = builder.project_inline(Sales::default(), &models).open().await.unwrap();
        for count in 1..=200 {
            sell(&gesta, "ann", 1).await;
            assert_eq!(find(&gesta, "ann", Position::START).await, count);
            assert_eq!(find(&gesta, "ann", Position::START).await, count);
        }
        let (hits, ..) = counts(&gesta);
        assert_eq!(hits > 0, fault == CacheFault::None, "{hits} hits with {fault:?}");
    }
}

/// Each node has a cache of its own, and another one applies the events.
#[tokio::test]
async fn a_node_that_applies_nothing_returns_no_answer_from_before_a_change_that_it_has_seen() {
    let clock = VirtualClock::new();
    let (store, models) = (Arc::new(MemoryStore::new()), MemoryReadModels::new());
    let time = clock.clone();
    let begin = gesta::Clock::now(&clock);
    let leases = Arc::new(MemoryLeases::with_clock(move || {
        gesta::Clock::now(&time).duration_since(begin).unwrap_or_default()
    }));
    let node = async |label: &str| {
        let nodes = gesta::Nodes::new(leases.clone(), label).unwrap();
        let builder = open_with(&store, Arc::new(MemoryQueryCache::new()));
        let builder = builder.nodes(nodes).clock(clock.clone());
        builder.project(Sales::default(), &models).open().await.unwrap()
    };
    let (writer, reader) = (node("writer").await, node("reader").await);
    let mut expected = 0;
    for amount in 1..=20 {
        expected += amount;
        let receipt = sell(&writer, "ann", amount).await;
        assert_eq!(find(&reader, "ann", receipt.position).await, expected);
        assert_eq!(find(&reader, "ann", Position::START).await, expected);
    }
    let (hits, ..) = counts(&reader);
    assert!(hits >= 10, "{hits} hits: an answer is used until the next change is seen");
}

/// Answers are at least as recent as their callers ask for, whatever the cache loses, and without
/// a loss no caller gets an answer from before a change that was visible when it asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_and_reads_in_between_never_get_an_older_answer() {
    for fault in
        [CacheFault::None, CacheFault::LosesMarks, CacheFault::LosesAnswers, CacheFault::Flickers]
    {
        let gesta = shop_with(&Control::open(), FaultyCache::new(fault)).await;
        let writers = (0..4).map(|writer: u64| {
            let gesta = gesta.clone();
            tokio::spawn(async move {
                let (name, mut sum) = (format!("writer {writer}"), 0);
                for amount in 1..=250 {
                    let receipt = sell(&gesta, &name, amount).await;
                    sum += amount;
                    // Only this task sells to the customer.
                    assert_eq!(find(&gesta, &name, receipt.position).await, sum);
                    assert!(total(&gesta, receipt.position).await >= sum);
                    // The change is visible: its answer is never returned again.
                    assert_eq!(find(&gesta, &name, Position::START).await, sum, "{fault:?}");
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    }
}

/// The checks above notice a cache that breaks its promise.
#[tokio::test]
async fn a_cache_that_ignores_positions_and_marks_is_noticed() {
    let gesta = shop_with(&Control::open(), FaultyCache::new(CacheFault::IgnoresAll)).await;
    let before = sell(&gesta, "ann", 5).await;
    assert_eq!(find(&gesta, "ann", before.position).await, 5);
    let after = sell(&gesta, "ann", 6).await;
    gesta.wait_for::<Sales>(&after).await.unwrap();
    assert_eq!(find(&gesta, "ann", after.position).await, 5, "a stale answer");
}

#[tokio::test]
async fn queries_of_other_values_types_and_versions_have_other_keys() {
    let cache = FaultyCache::new(CacheFault::None);
    let gesta = shop_with(&Control::open(), cache.clone()).await;
    let receipt = sell(&gesta, "ann", 5).await;
    find(&gesta, "ann", receipt.position).await;
    find(&gesta, "bob", receipt.position).await;
    total(&gesta, receipt.position).await;
    gesta.ask(shop::SoldTotalOfNextVersion).at_least(&receipt).await.unwrap();
    let keys = cache.keys();
    let names: HashSet<_> = keys.iter().map(|key| key.query.clone()).collect();
    assert_eq!(names.len(), 4, "{keys:?}");
    let head = gesta.store().head().await.unwrap();
    let read_model = ReadModelId { projection: Sales::NAME.to_owned(), build: 1 };
    let scope = CacheScope { read_model, incarnation: head.incarnation };
    assert!(keys.iter().all(|key| key.scope == scope), "{keys:?}");
}

#[tokio::test]
async fn a_query_without_a_json_form_is_an_error_that_names_it() {
    let gesta = open().await;
    let error = gesta.ask(shop::Unwritable(f64::NAN)).await.unwrap_err().to_string();
    assert!(error.contains("Unwritable") && error.contains("NaN"), "{error}");
}

#[tokio::test]
async fn an_answer_without_a_json_form_is_returned_and_not_kept() {
    let gesta = open().await;
    let receipt = sell(&gesta, "ann", 5).await;
    for _ in 0..2 {
        let answer = gesta.ask(shop::NotANumber).at_least(&receipt).await.unwrap();
        assert!(answer.is_nan());
    }
    assert_eq!(counts(&gesta), (0, 2, 0));
}

/// More answers than fit, and more marks than are kept.
#[tokio::test]
async fn a_full_cache_drops_answers_and_stays_right() {
    let cache = MemoryQueryCache::with_capacity(10_000);
    let read_model = ReadModelId { projection: "many".to_owned(), build: 1 };
    let incarnation = Incarnation::new(uuid::Uuid::nil());
    let scope = CacheScope { read_model, incarnation };
    let mut first_ticket = None;
    for number in 0..100_100_u32 {
        let key = CacheKey::new(scope.clone(), number.to_string(), [format!("={number}")]);
        let begin = gesta::store::BeginLoad::new(Position::START, Caching::<()>::TTL);
        let LoadTurn::Load(ticket) = cache.begin_load(&key, begin).await.unwrap() else {
            panic!("a cache of one process lets its caller load");
        };
        first_ticket.get_or_insert((key, ticket));
    }
    let (key, ticket) = first_ticket.unwrap();
    let answer = gesta::store::CachedAnswer { position: Position::new(9), bytes: "9".into() };
    cache.store(&key, ticket, answer, Caching::<()>::TTL).await;
    let found = cache.get(&key, Position::START).await.unwrap();
    assert_eq!(found, None, "its marks were dropped in between");
}

#[test]
fn a_query_that_opts_in_says_so() {
    let caching = gesta::Query::caching(&SoldTotal).expect("it opts in");
    let text = format!("{caching:?}");
    assert!(text.contains("SoldTotal") && text.contains("300s"), "{text}");
    assert_ne!(RowGroups::all(), RowGroups::none());
}
