//! Functions called by derived code. Not a public API; may change at any time.

use crate::{
    DecodeError, EncodeError, Event, EventCodec, EventData, EventSet, EventShape, EventVersion,
    PersonalField, event::own_version, store::ContentType,
};

/// The type of a command's id fields, which must be that of its boundary.
#[diagnostic::on_unimplemented(
    message = "the id of this command's boundary is `{Id}`; its fields give `{Self}`",
    label = "not the id of the boundary",
    note = "give the fields with `#[command(id)]` the type of the aggregate's `type Id`, one field \
            for each aggregate in order, or name a function: `#[command(id = path)]`"
)]
pub trait IsIdOfBoundary<Id> {
    fn into_id(self) -> Id;
}

impl<Id> IsIdOfBoundary<Id> for Id {
    fn into_id(self) -> Id {
        self
    }
}

/// Returns the id of a command's boundary.
pub fn id<Id, Given: IsIdOfBoundary<Id>>(given: Given) -> Id {
    given.into_id()
}

/// Encodes an event by its codec.
pub fn encode_by<C: EventCodec, E: Event>(
    event: &E,
) -> Result<(ContentType, Vec<u8>), EncodeError> {
    crate::event::encode_by::<C, E>(event)
}

/// Decodes an event's own version by its codec, or from JSON.
pub fn decode_by<C: EventCodec, E: Event>(data: EventData<'_>) -> Result<E, DecodeError> {
    crate::event::decode_by::<C, E>(data)
}

/// Decodes the own version of an event with serde, older ones as `Old`.
pub fn upcast_from<Old: Event, New: Event + From<Old>>(
    version: u16,
    data: EventData<'_>,
) -> Result<New, DecodeError> {
    if version >= New::VERSION {
        return own_version(version, data);
    }
    Old::upcast(version, data).map(New::from)
}

/// Like [`upcast_from`], passing on each event of an `Old` that may drop or split.
pub fn upcast_each_from<Old: Event, New: Event + From<Old>>(
    version: u16,
    data: EventData<'_>,
    each: &mut dyn FnMut(New),
) -> Result<(), DecodeError> {
    if version >= New::VERSION {
        each(own_version(version, data)?);
        return Ok(());
    }
    Old::upcast_each(version, data, &mut |old| each(New::from(old)))
}

/// Decodes the own version of an event with serde, older ones as any number of events.
pub fn split_each_from<Old: Event, New: Event>(
    version: u16,
    data: EventData<'_>,
    each: &mut dyn FnMut(New),
) -> Result<(), DecodeError>
where
    Vec<New>: From<Old>,
{
    if version >= New::VERSION {
        each(own_version(version, data)?);
        return Ok(());
    }
    Old::upcast_each(version, data, &mut |old| {
        Vec::<New>::from(old).into_iter().for_each(&mut *each);
    })
}

/// Returns the event that `read` yields, or an error unless it yields exactly one.
pub fn one<E>(
    event_type: &str,
    version: u16,
    read: impl FnOnce(&mut dyn FnMut(E)) -> Result<(), DecodeError>,
) -> Result<E, DecodeError> {
    let (mut last, mut count) = (None, 0);
    read(&mut |event| {
        last = Some(event);
        count += 1;
    })?;
    last.filter(|_| count == 1).ok_or_else(|| DecodeError::NotOne {
        event_type: event_type.to_owned(),
        version,
        count,
    })
}

/// Returns whether a stored event has a replaced type. If a member of the set has the same name,
/// only versions up to the replaced one count.
#[must_use]
pub fn is_replaced<Old: Event>(event_type: &str, version: u16, members: &[&str]) -> bool {
    event_type == Old::NAME && (version <= Old::VERSION || !members.contains(&event_type))
}

/// Decodes a replaced type into events of the set.
pub fn replaced_each<Old: Event, S: EventSet>(
    version: u16,
    data: EventData<'_>,
    each: &mut dyn FnMut(S),
) -> Result<(), DecodeError>
where
    Vec<S>: From<Old>,
{
    Old::upcast_each(version, data, &mut |old| {
        Vec::<S>::from(old).into_iter().for_each(&mut *each);
    })
}

/// Returns the versions of `Old` followed by the own one, each with its full shape.
#[must_use]
pub fn versions_from<Old: Event, New: Event>() -> Vec<EventVersion> {
    let mut versions = Old::versions();
    versions.push(EventVersion::of::<New>());
    versions
}

/// Returns the versions of `Old` followed by the own one.
#[must_use]
pub fn shapes_from<Old: Event, New: Event>() -> Vec<EventShape> {
    let mut shapes = Old::shapes();
    shapes.push(EventShape { version: New::VERSION, shape: New::SHAPE });
    shapes
}

/// Returns the personal fields of older versions together with the own ones, each once.
#[must_use]
pub fn personal_with(older: Vec<PersonalField>, own: &[PersonalField]) -> Vec<PersonalField> {
    let mut all = older;
    all.extend_from_slice(own);
    all.sort();
    all.dedup();
    all
}

/// Rejects at compile time an upcaster from another event or from a newer version.
pub const fn assert_upcasts<Old: Event, New: Event>() {
    assert!(
        is_same(Old::NAME, New::NAME),
        "`from` or `split` must name an older version of the same event: the names differ"
    );
    assert!(
        Old::VERSION < New::VERSION,
        "`from` or `split` must name an event with a lower `version`"
    );
    assert!(
        Old::VERSION + 1 == New::VERSION,
        "`from` or `split` must name the version just before: declare the version in between with \
         its own `from`, or lower this `version` if none was ever recorded"
    );
}

/// Rejects at compile time a command on an aggregate whose category cannot begin a stream's name.
pub const fn assert_categories(are_valid: bool) {
    assert!(
        are_valid,
        "the CATEGORY of an aggregate must be non-empty and contain neither `-` nor `$`, since a \
         stream's category ends at the first `-` of its name; change it"
    );
}

/// Rejects at compile time a set with duplicate event names.
pub const fn assert_distinct(names: &[&str]) {
    let mut rest = names;
    while let Some((first, after)) = rest.split_first() {
        let mut others = after;
        while let Some((other, more)) = others.split_first() {
            assert!(
                !is_same(first, other),
                "two events of this set have the same name; change one `#[event(name = …)]`"
            );
            others = more;
        }
        rest = after;
    }
}

/// Rejects at compile time a set that ignores an event of its own.
pub const fn assert_not_ignored(names: &[&str], ignored: &str) {
    let mut rest = names;
    while let Some((name, after)) = rest.split_first() {
        assert!(
            !is_same(name, ignored),
            "an event of this set is also in `ignore(…)`; remove it there"
        );
        rest = after;
    }
}

/// Compares two texts at compile time.
#[must_use]
pub const fn is_same(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        match (one.split_first(), other.split_first()) {
            (None, None) => return true,
            (Some((a, ones)), Some((b, others))) if *a == *b => (one, other) = (ones, others),
            _ => return false,
        }
    }
}
