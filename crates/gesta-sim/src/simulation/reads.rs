//! Reads of every kind, compared with what the history says.
//!
//! Always holds: each is asked after everything published was absorbed and before the engine is
//! turned again, so there is exactly one right answer.

use std::{collections::BTreeSet, ops::ControlFlow};

use gesta_log::{BorrowedEvent, LogStore};
use gesta_store::{
    Category, Direction, EventStore, Filter, ListCategories, ListStreams, Pages, Position, ReadAll,
    ReadFrom, ReadStream, RecordedEvent, Revision, StoreError, StreamDescription, StreamName,
    StreamState, Tag, Visibility,
};

use super::poll::{answer_now, poll_once};
use crate::{
    chance::Chance,
    client::Client,
    model::{Broken, History, Model, Verdict, demand},
};

/// Takes what was published since.
pub(crate) fn catch_up(store: &LogStore, model: &mut Model) -> Verdict {
    let from = model.history().head().next();
    let events = collected(store.read_all(ReadAll::forwards().from(from)))?;
    let events = events.map_err(|error| Broken(format!("a read failed: {error}")))?;
    model.absorb(&events)
}

/// All pages of a read, up to its end or its error.
pub(crate) fn collected(mut pages: Pages) -> Verdict<Result<Vec<RecordedEvent>, StoreError>> {
    let mut events = Vec::new();
    loop {
        let page = poll_once(std::pin::pin!(pages.next()));
        match page.ok_or_else(|| Broken("a page waited for something".to_owned()))? {
            Some(Ok(page)) => events.extend(page),
            Some(Err(error)) => return Ok(Err(error)),
            None => return Ok(Ok(events)),
        }
    }
}

/// The events of a read of what may be damaged.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) events: Vec<RecordedEvent>,
    /// Whether it came to its end; if not, to an error that says that something is damaged.
    pub(crate) to_the_end: bool,
}

/// All pages of a read, up to its end or to damage.
pub(crate) fn up_to_damage(mut pages: Pages) -> Verdict<Shown> {
    let mut events = Vec::new();
    loop {
        match poll_once(std::pin::pin!(pages.next())) {
            Some(Some(Ok(page))) => events.extend(page),
            Some(None) => return Ok(Shown { events, to_the_end: true }),
            Some(Some(Err(StoreError::Corrupt(_)))) => {
                return Ok(Shown { events, to_the_end: false });
            }
            Some(Some(Err(error))) => return Err(Broken(format!("damage read as {error}"))),
            None => return Err(Broken("a page waited for something".to_owned())),
        }
    }
}

/// One read, whichever.
pub(crate) fn read_something(
    store: &LogStore,
    model: &Model,
    client: &mut Client,
    chance: &mut Chance,
) -> Verdict {
    let history = model.history();
    match chance.below(9) {
        0 | 1 => read_all(store, history, client, chance),
        8 => {
            let after = Position::new(chance.within(0..history.head().number() + 1));
            scan(store, history, after)?.ok_or_else(damaged)
        }
        2..=4 => read_stream(store, history, client.stream(), chance),
        5 => describe(store, history, &client.stream())?.ok_or_else(damaged),
        6 => find_append(store, model, chance)?.ok_or_else(damaged),
        _ => list(store, history, chance)?.ok_or_else(damaged),
    }
}

fn damaged() -> Broken {
    Broken("a sound store said that it was damaged".to_owned())
}

/// What was answered; nothing where the answer is damage.
pub(crate) fn unless_damaged<T>(answer: Verdict<Result<T, StoreError>>) -> Verdict<Option<T>> {
    match answer? {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Corrupt(_)) => Ok(None),
        Err(error) => Err(Broken(format!("something was not answered: {error}"))),
    }
}

pub(crate) fn some_filter(client: &mut Client, chance: &mut Chance) -> Filter {
    let category = |name| Category::new(name).expect("a valid name");
    match chance.below(7) {
        0 | 1 => Filter::Everything,
        2 => Filter::Streams(vec![client.stream(), client.stream()]),
        3 => Filter::StreamPrefixes(vec![chance.pick(&["o", "order-", "$$", "x"]).to_owned()]),
        4 => Filter::Categories(vec![category("order"), category("account")]),
        5 => Filter::EventTypes(vec![client.event_type()]),
        _ => Filter::Query(client.query()),
    }
}

fn read_all(
    store: &LogStore,
    history: &History,
    client: &mut Client,
    chance: &mut Chance,
) -> Verdict {
    let filter = some_filter(client, chance);
    let place = Position::new(chance.within(0..history.head().number() + 2));
    let read = ReadAll {
        direction: chance.pick(&[Direction::Forwards, Direction::Backwards]),
        from: chance.pick(&[ReadFrom::Start, ReadFrom::End, ReadFrom::Place(place)]),
        filter: filter.clone(),
        visibility: chance.pick(&[Visibility::Raw, Visibility::Visible]),
        limit: chance.pick(&[1, 3, 20, u64::MAX]),
    };
    let hidden = match filter.visibility(read.visibility) {
        Visibility::Raw => BTreeSet::new(),
        Visibility::Visible => history.hidden(),
    };
    let shown = history.events().iter().filter(|event| !hidden.contains(&event.position));
    let meant = shown.filter(|event| filter.matches(event));
    let expected = walked(meant, &read.direction, read.from, |event| event.position);
    let found = collected(store.read_all(read.clone()))?;
    compare(&format!("{read:?}"), found, &expected, read.limit)
}

fn read_stream(
    store: &LogStore,
    history: &History,
    stream: StreamName,
    chance: &mut Chance,
) -> Verdict {
    let place = Revision::new(chance.within(0..history.next_revision(&stream).number() + 2));
    let read = ReadStream {
        stream: stream.clone(),
        direction: chance.pick(&[Direction::Forwards, Direction::Backwards]),
        from: chance.pick(&[ReadFrom::Start, ReadFrom::End, ReadFrom::Place(place)]),
        limit: chance.pick(&[1, 3, 20, u64::MAX]),
    };
    let found = collected(store.read_stream(read.clone()))?;
    let past = history.stream_past(&stream, history.head());
    if past.state == StreamState::Tombstoned {
        return demand(matches!(found, Err(StoreError::Deleted { .. })), || {
            format!("{read:?} of a tombstoned stream was answered")
        });
    }
    let shown = history.shown(&stream);
    let expected = walked(shown.into_iter(), &read.direction, read.from, |event| event.revision);
    compare(&format!("{read:?}"), found, &expected, read.limit)
}

/// The events of a read in its order, without its limit.
fn walked<'a, Place: PartialOrd + Copy>(
    meant: impl Iterator<Item = &'a RecordedEvent>,
    direction: &Direction,
    from: ReadFrom<Place>,
    place_of: impl Fn(&RecordedEvent) -> Place,
) -> Vec<&'a RecordedEvent> {
    let on_the_way = |event: &&RecordedEvent| match (from, direction) {
        (ReadFrom::Start, Direction::Forwards) | (ReadFrom::End, Direction::Backwards) => true,
        (ReadFrom::Start, Direction::Backwards) | (ReadFrom::End, Direction::Forwards) => false,
        (ReadFrom::Place(place), Direction::Forwards) => place_of(event) >= place,
        (ReadFrom::Place(place), Direction::Backwards) => place_of(event) <= place,
    };
    let mut events: Vec<_> = meant.filter(on_the_way).collect();
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
) -> Verdict {
    let found = found.map_err(|error| Broken(format!("{read} failed: {error}")))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let expected = expected.get(..limit).unwrap_or(expected);
    demand(found.iter().eq(expected.iter().copied()), || {
        let places = |events: &mut dyn Iterator<Item = &RecordedEvent>| -> Vec<Position> {
            events.map(|event| event.position).collect()
        };
        let (found, expected) = (places(&mut found.iter()), places(&mut expected.iter().copied()));
        format!("{read} gave {found:?} instead of {expected:?}")
    })
}

/// Goes through everything without copies; nothing where that ends at damage.
pub(crate) fn scan(store: &LogStore, history: &History, after: Position) -> Verdict<Option<()>> {
    let known = history.events();
    let mut rest = known.iter().skip(known.partition_point(|event| event.position <= after));
    let mut wrong = None;
    let scanned = store.scan(after, |event| {
        if rest.next().is_some_and(|known| is_borrowed(known, &event)) {
            return ControlFlow::Continue(());
        }
        wrong = Some(event.position);
        ControlFlow::Break(())
    });
    let whole = rest.next().is_none();
    demand(wrong.is_none(), || format!("a scan after {after} went wrong at {wrong:?}"))?;
    let scanned = unless_damaged(Ok(scanned))?;
    demand(scanned.is_none() || whole, || format!("a scan ended after {scanned:?} events"))?;
    Ok(scanned.map(drop))
}

/// Whether an event that was lent is this one.
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

/// What a stream is said to be; nothing where the answer is damage.
pub(crate) fn describe(
    store: &LogStore,
    history: &History,
    stream: &StreamName,
) -> Verdict<Option<()>> {
    let past = history.stream_past(stream, history.head());
    let expected = StreamDescription {
        state: past.state,
        head: past.head,
        metadata: past.metadata,
        metadata_revision: past.metadata_head,
    };
    let found = unless_damaged(answer_now(store.describe_stream(stream)))?;
    demand(found.is_none() || found.as_ref() == Some(&expected), || {
        format!("{stream} was described as {found:?} instead of {expected:?}")
    })?;
    Ok(found.map(drop))
}

/// Whether an append is found; nothing where the answer is damage.
pub(crate) fn find_append(
    store: &LogStore,
    model: &Model,
    chance: &mut Chance,
) -> Verdict<Option<()>> {
    if model.offers() == 0 {
        return Ok(Some(()));
    }
    let offer = chance.below(model.offers());
    let Some(first) = model.append(offer).events().next().map(|event| event.id) else {
        return Ok(Some(()));
    };
    let expected = model.published_as(first).cloned();
    let found = unless_damaged(answer_now(store.find_append(first)))?;
    demand(found.is_none() || found.as_ref() == Some(&expected), || {
        format!("append {offer} was found as {found:?} instead of {expected:?}")
    })?;
    Ok(found.map(drop))
}

/// Which streams and categories there are; nothing where the answer is damage.
pub(crate) fn list(
    store: &LogStore,
    history: &History,
    chance: &mut Chance,
) -> Verdict<Option<()>> {
    let limit = chance.pick(&[2, usize::MAX]);
    let prefix = chance.pick(&["", "order-", "$$"]).to_owned();
    let list = ListStreams { prefix: prefix.clone(), after: None, limit };
    let is_listed = |stream: &&StreamName| {
        let state = history.stream_past(stream, history.head()).state;
        stream.as_str().starts_with(&prefix)
            && stream.is_system() == prefix.starts_with('$')
            && state == StreamState::Live
    };
    let expected: Vec<_> = history.stream_names().filter(is_listed).take(limit).cloned().collect();
    let Some(found) = unless_damaged(answer_now(store.list_streams(list)))? else {
        return Ok(None);
    };
    demand(found == expected, || format!("streams {found:?} instead of {expected:?}"))?;
    let expected: Vec<_> = history.categories().into_iter().take(limit).collect();
    let list = ListCategories { after: None, limit };
    let Some(found) = unless_damaged(answer_now(store.list_categories(list)))? else {
        return Ok(None);
    };
    demand(found == expected, || format!("categories {found:?} instead of {expected:?}"))?;
    Ok(Some(()))
}
