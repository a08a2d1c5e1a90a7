//! Reads of every kind, compared with the history.
//!
//! Invariant: a read happens after all published events were absorbed and before the next engine
//! turn, so exactly one answer is correct.

use std::{collections::BTreeSet, fmt::Debug, ops::ControlFlow};

use gesta_log::{BorrowedEvent, LogStore};
use gesta_store::{
    Category, CorrelationId, Direction, EventStore, Filter, ListCategories, ListStreams, Ordinal,
    OrdinalIndex, Pages, Position, ReadAll, ReadFrom, ReadOrdinals, ReadStream, RecordedAt,
    RecordedEvent, Revision, StoreError, StreamDescription, StreamName, StreamState, Tag,
    Visibility,
};

use super::poll::{answer_now, poll_once};
use crate::{
    client::Client,
    model::{CheckResult, History, Model, Violation, ensure},
    rng::SimRng,
};

/// Absorbs the events published since the last call.
pub(crate) fn catch_up(store: &LogStore, model: &mut Model) -> CheckResult {
    let from = model.history().head().next();
    let events = collected(store.read_all(ReadAll::forwards().from(from)))?;
    let events = events.map_err(|error| Violation(format!("a read failed: {error}")))?;
    model.absorb(&events)
}

/// Collects all pages of a read, up to its end or its error.
pub(crate) fn collected<Item: 'static>(
    mut pages: Pages<Item>,
) -> CheckResult<Result<Vec<Item>, StoreError>> {
    let mut events = Vec::new();
    loop {
        let page = poll_once(std::pin::pin!(pages.next()));
        match page.ok_or_else(|| Violation("a page was pending".to_owned()))? {
            Some(Ok(page)) => events.extend(page),
            Some(Err(error)) => return Ok(Err(error)),
            None => return Ok(Ok(events)),
        }
    }
}

/// Events of a read of a possibly damaged store.
#[derive(Debug)]
pub(crate) struct PartialRead {
    pub(crate) events: Vec<RecordedEvent>,
    /// `false` if the read ended with a report of damage.
    pub(crate) complete: bool,
}

/// Collects all pages of a read, up to its end or to reported damage.
pub(crate) fn read_until_damage(mut pages: Pages) -> CheckResult<PartialRead> {
    let mut events = Vec::new();
    loop {
        match poll_once(std::pin::pin!(pages.next())) {
            Some(Some(Ok(page))) => events.extend(page),
            Some(None) => return Ok(PartialRead { events, complete: true }),
            Some(Some(Err(StoreError::Corrupt(_)))) => {
                return Ok(PartialRead { events, complete: false });
            }
            Some(Some(Err(error))) => {
                return Err(Violation(format!("a read reported damage as {error}")));
            }
            None => return Err(Violation("a page was pending".to_owned())),
        }
    }
}

/// Performs a random read and checks it.
pub(crate) fn random_read(
    store: &LogStore,
    model: &Model,
    client: &mut Client,
    rng: &mut SimRng,
) -> CheckResult {
    let history = model.history();
    match rng.below(11) {
        0 | 1 => read_all(store, history, client, rng),
        9 => read_ordinals(store, history, client, rng),
        10 => look_up(store, history, rng),
        8 => {
            let after = Position::new(rng.in_range(0..history.head().number() + 1));
            scan(store, history, after)?.ok_or_else(damaged)
        }
        2..=4 => read_stream(store, history, client.stream(), rng),
        5 => describe(store, history, &client.stream())?.ok_or_else(damaged),
        6 => find_append(store, model, rng)?.ok_or_else(damaged),
        _ => list(store, history, rng)?.ok_or_else(damaged),
    }
}

fn damaged() -> Violation {
    Violation("an undamaged store reported damage".to_owned())
}

/// Returns the answer, or `None` if it reports damage.
pub(crate) fn none_if_damaged<T>(
    answer: CheckResult<Result<T, StoreError>>,
) -> CheckResult<Option<T>> {
    match answer? {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Corrupt(_)) => Ok(None),
        Err(error) => Err(Violation(format!("a lookup failed: {error}"))),
    }
}

pub(crate) fn selects(filter: &Filter, event: &RecordedEvent) -> bool {
    filter.matches(event).expect("the simulation uses no regular expressions")
}

pub(crate) fn random_filter(client: &mut Client, rng: &mut SimRng) -> Filter {
    let category = |name| Category::new(name).expect("a valid name");
    match rng.below(7) {
        0 | 1 => Filter::Everything,
        2 => Filter::Streams(vec![client.stream(), client.stream()]),
        3 => Filter::StreamPrefixes(vec![rng.pick(&["o", "order-", "$$", "x"]).to_owned()]),
        4 => Filter::Categories(vec![category("order"), category("account")]),
        5 => Filter::EventTypes(vec![client.event_type()]),
        _ => Filter::Query(client.query()),
    }
}

fn read_all(
    store: &LogStore,
    history: &History,
    client: &mut Client,
    rng: &mut SimRng,
) -> CheckResult {
    let filter = random_filter(client, rng);
    let place = Position::new(rng.in_range(0..history.head().number() + 2));
    let read = ReadAll::towards(rng.pick(&[Direction::Forwards, Direction::Backwards]))
        .starting(rng.pick(&[ReadFrom::Start, ReadFrom::End, ReadFrom::At(place)]))
        .filter(filter.clone())
        .visibility(rng.pick(&[Visibility::Raw, Visibility::Visible]))
        .limit(rng.pick(&[1, 3, 20, u64::MAX]));
    let hidden = match filter.visibility(read.visibility) {
        Visibility::Raw => BTreeSet::new(),
        Visibility::Visible => history.hidden(),
    };
    let shown = history.events().iter().filter(|event| !hidden.contains(&event.position));
    let meant = shown.filter(|event| selects(&filter, event));
    // The reference answer: filter everything, order it, cut it at the limit.
    let expected = in_read_order(meant, &read.direction, read.from, |event| event.position);
    let found = collected(store.read_all(read.clone()))?;
    compare(&format!("{read:?}"), found, &expected, read.limit)
}

fn read_stream(
    store: &LogStore,
    history: &History,
    stream: StreamName,
    rng: &mut SimRng,
) -> CheckResult {
    let place = Revision::new(rng.in_range(0..history.next_revision(&stream).number() + 2));
    let read =
        ReadStream::towards(rng.pick(&[Direction::Forwards, Direction::Backwards]), stream.clone())
            .starting(rng.pick(&[ReadFrom::Start, ReadFrom::End, ReadFrom::At(place)]))
            .limit(rng.pick(&[1, 3, 20, u64::MAX]));
    let found = collected(store.read_stream(read.clone()))?;
    let past = history.stream_state_at(&stream, history.head());
    if past.state == StreamState::Tombstoned {
        return ensure(matches!(found, Err(StoreError::Deleted { .. })), || {
            format!("{read:?} of a tombstoned stream was answered")
        });
    }
    let shown = history.shown(&stream);
    let expected =
        in_read_order(shown.into_iter(), &read.direction, read.from, |event| event.revision);
    compare(&format!("{read:?}"), found, &expected, read.limit)
}

/// Reads by ordinals: scavenged events have theirs, too.
fn read_ordinals(
    store: &LogStore,
    history: &History,
    client: &mut Client,
    rng: &mut SimRng,
) -> CheckResult {
    let category = |name| OrdinalIndex::Category(Category::new(name).expect("a valid name"));
    let of = match rng.below(5) {
        3 => OrdinalIndex::Streams,
        4 => OrdinalIndex::StreamsOf(Category::new("order").expect("a valid name")),
        0 => category(rng.pick(&["order", "account"])),
        1 => OrdinalIndex::EventType(client.event_type()),
        _ => OrdinalIndex::Correlation(conversation()),
    };
    if !store.capabilities().has(of.capability()) {
        return Ok(());
    }
    let counted = history.ever().iter().filter(|event| of.counts(event));
    let there: BTreeSet<_> = history.events().iter().map(|event| event.position).collect();
    let mut expected: Vec<(u64, &RecordedEvent)> =
        (0..).zip(counted).filter(|(_, event)| there.contains(&event.position)).collect();
    let from = rng.in_range(0..history.head().number() + 2);
    let read = if rng.percent(50) {
        expected.retain(|(ordinal, _)| *ordinal >= from);
        ReadOrdinals::forwards(of)
    } else {
        expected.retain(|(ordinal, _)| *ordinal <= from);
        expected.reverse();
        ReadOrdinals::backwards(of)
    };
    let read = read.from(Ordinal::new(from));
    let found = collected(store.read_ordinals(read.clone()))?;
    let found = found.map_err(|error| Violation(format!("{read:?} failed: {error}")))?;
    let found = found.iter().map(|counted| (counted.ordinal.number(), &counted.event));
    let found: Vec<_> = found.collect();
    ensure(found == expected, || {
        let places = |events: &[(u64, &RecordedEvent)]| -> Vec<_> {
            events.iter().map(|(ordinal, event)| (*ordinal, event.position)).collect()
        };
        format!("{read:?} returned {:?} instead of {:?}", places(&found), places(&expected))
    })
}

/// Looks up events by an id, or from a time on.
fn look_up(store: &LogStore, history: &History, rng: &mut SimRng) -> CheckResult {
    let Some(any) = history.events().get(rng.below(history.events().len().max(1))) else {
        return Ok(());
    };
    if rng.percent(50) {
        return read_from_time(store, history, any.recorded_at, rng);
    }
    let id =
        if rng.percent(50) { Filter::EventId(any.id) } else { Filter::Correlation(conversation()) };
    if !id.capability().is_some_and(|capability| store.capabilities().has(capability)) {
        return Ok(());
    }
    let meant = history.events().iter().filter(|event| selects(&id, event));
    let expected: Vec<_> = meant.collect();
    let read = ReadAll::forwards().filter(id);
    let found = collected(store.read_all(read.clone()))?;
    compare(&format!("{read:?}"), found, &expected, u64::MAX)
}

fn read_from_time(
    store: &LogStore,
    history: &History,
    time: RecordedAt,
    rng: &mut SimRng,
) -> CheckResult {
    let events = history.events().iter();
    let (read, expected): (_, Vec<_>) = if rng.percent(50) {
        (ReadAll::forwards(), events.filter(|event| event.recorded_at >= time).collect())
    } else {
        let earlier = events.rev().filter(|event| event.recorded_at <= time);
        (ReadAll::backwards(), earlier.collect())
    };
    let read = read.from_time(time);
    let found = collected(store.read_all(read.clone()))?;
    compare(&format!("{read:?}"), found, &expected, u64::MAX)
}

/// The only correlation id of the simulation.
fn conversation() -> CorrelationId {
    CorrelationId::new("conversation-7").expect("a valid id")
}

/// Events of a read in its order, before its limit.
fn in_read_order<'a, Place: PartialOrd + Copy + Debug>(
    meant: impl Iterator<Item = &'a RecordedEvent>,
    direction: &Direction,
    from: ReadFrom<Place>,
    place_of: impl Fn(&RecordedEvent) -> Place,
) -> Vec<&'a RecordedEvent> {
    let in_range = |event: &&RecordedEvent| match (from, direction) {
        (ReadFrom::Start, Direction::Forwards) | (ReadFrom::End, Direction::Backwards) => true,
        (ReadFrom::Start, Direction::Backwards) | (ReadFrom::End, Direction::Forwards) => false,
        (ReadFrom::At(place), Direction::Forwards) => place_of(event) >= place,
        (ReadFrom::At(place), Direction::Backwards) => place_of(event) <= place,
        (other, _) => unreachable!("the simulation does not start reads at {other:?}"),
    };
    let mut events: Vec<_> = meant.filter(in_range).collect();
    if *direction == Direction::Backwards {
        events.reverse();
    }
    events
}

fn compare(
    read: &str,
    found: Result<Vec<RecordedEvent>, StoreError>,
    expected: &[&RecordedEvent],
    limit: u64,
) -> CheckResult {
    let found = found.map_err(|error| Violation(format!("{read} failed: {error}")))?;
    // Compare only up to the limit.
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let expected = expected.get(..limit).unwrap_or(expected);
    ensure(found.iter().eq(expected.iter().copied()), || {
        let places = |events: &mut dyn Iterator<Item = &RecordedEvent>| -> Vec<Position> {
            events.map(|event| event.position).collect()
        };
        let (found, expected) = (places(&mut found.iter()), places(&mut expected.iter().copied()));
        format!("{read} returned {found:?} instead of {expected:?}")
    })
}

/// Scans all events after a position and checks them; `None` if the scan reports damage.
pub(crate) fn scan(
    store: &LogStore,
    history: &History,
    after: Position,
) -> CheckResult<Option<()>> {
    let known = history.events();
    let mut rest = known.iter().skip(known.partition_point(|event| event.position <= after));
    // Compared event by event during the scan, because borrowed events do not outlive it.
    let mut wrong = None;
    let scanned = store.scan(after, |event| {
        if rest.next().is_some_and(|known| is_borrowed(known, &event)) {
            return ControlFlow::Continue(());
        }
        wrong = Some(event.position);
        ControlFlow::Break(())
    });
    let whole = rest.next().is_none();
    ensure(wrong.is_none(), || {
        format!("a scan after {after} returned a wrong event at {wrong:?}")
    })?;
    let scanned = none_if_damaged(Ok(scanned))?;
    ensure(scanned.is_none() || whole, || format!("a scan ended after {scanned:?} events"))?;
    Ok(scanned.map(drop))
}

/// Returns whether a borrowed event equals the known one.
pub(crate) fn is_borrowed(known: &RecordedEvent, event: &BorrowedEvent<'_>) -> bool {
    known.position == event.position
        && known.revision == event.revision
        && known.recorded_at == event.recorded_at
        && known.id == event.id
        && known.schema_version == event.schema_version
        && known.stream.as_str() == event.stream
        && known.event_type.as_str() == event.event_type
        && known.metadata == event.metadata
        && known.data == event.data
        && known.tags.iter().map(Tag::as_str).eq(event.tags())
}

/// Checks the description of a stream; `None` if the answer reports damage.
pub(crate) fn describe(
    store: &LogStore,
    history: &History,
    stream: &StreamName,
) -> CheckResult<Option<()>> {
    let past = history.stream_state_at(stream, history.head());
    let expected = StreamDescription::new(past.state)
        .head(past.head)
        .metadata(past.metadata, past.metadata_head);
    let found = none_if_damaged(answer_now(store.describe_stream(stream)))?;
    ensure(found.is_none() || found.as_ref() == Some(&expected), || {
        format!("{stream} was described as {found:?} instead of {expected:?}")
    })?;
    Ok(found.map(drop))
}

/// Checks the lookup of a random append; `None` if the answer reports damage.
pub(crate) fn find_append(
    store: &LogStore,
    model: &Model,
    rng: &mut SimRng,
) -> CheckResult<Option<()>> {
    if model.append_count() == 0 {
        return Ok(Some(()));
    }
    let append = rng.below(model.append_count());
    let Some(first) = model.append(append).events().next().map(|event| event.id) else {
        return Ok(Some(()));
    };
    let expected: Vec<_> = model.published_as(first).collect();
    let found = none_if_damaged(answer_now(store.find_append(first)))?;
    let is_right = match &found {
        None => true,
        Some(None) => expected.is_empty(),
        Some(Some(appended)) => expected.contains(&appended),
    };
    ensure(is_right, || {
        format!("append {append} was found as {found:?} instead of one of {expected:?}")
    })?;
    Ok(found.map(drop))
}

/// Checks the lists of streams and categories; `None` if the answer reports damage.
pub(crate) fn list(
    store: &LogStore,
    history: &History,
    rng: &mut SimRng,
) -> CheckResult<Option<()>> {
    let limit = rng.pick(&[2, usize::MAX]);
    let prefix = rng.pick(&["", "order-", "$$"]).to_owned();
    let list = ListStreams::all().prefix(prefix.clone()).limit(limit);
    let is_listed = |stream: &&StreamName| {
        let state = history.stream_state_at(stream, history.head()).state;
        stream.as_str().starts_with(&prefix)
            && stream.is_system() == prefix.starts_with('$')
            && state == StreamState::Live
    };
    // Deleted and tombstoned streams are not listed.
    let expected: Vec<_> = history.stream_names().filter(is_listed).take(limit).cloned().collect();
    let Some(found) = none_if_damaged(answer_now(store.list_streams(list)))? else {
        return Ok(None);
    };
    ensure(found == expected, || {
        format!("a listing returned streams {found:?} instead of {expected:?}")
    })?;
    let expected: Vec<_> = history.categories().into_iter().take(limit).collect();
    let list = ListCategories::all().limit(limit);
    let Some(found) = none_if_damaged(answer_now(store.list_categories(list)))? else {
        return Ok(None);
    };
    ensure(found == expected, || {
        format!("a listing returned categories {found:?} instead of {expected:?}")
    })?;
    Ok(Some(()))
}
