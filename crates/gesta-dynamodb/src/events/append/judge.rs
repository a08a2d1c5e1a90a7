//! Judging appends: repeats, expectations and the condition, against the end of the chain and the
//! appends of the group before.

use std::collections::{HashMap, HashSet};

use gesta_store::{
    Append, AppendCondition, Appended, Conflict, EventId, ExpectedRevision, Invalid, Limits,
    Revision, StoreError, StreamAppend, StreamName,
};

use super::{
    chain::Chain,
    contents::{INLINE_BYTES_MAX, logged},
};
use crate::{
    clock,
    errors::CallError,
    events::{codec::LoggedAppend, layout::id_partition, lookups::past_append, scan},
    item::{Item, PK, SK, key},
    table::KEYS_MAX,
};

/// The outcome of judging an append.
pub(super) enum Judged {
    /// Nothing is recorded.
    Answer(Result<Box<Appended>, StoreError>),
    /// Depends on the appends of the group before it.
    Later,
    Record(LoggedAppend),
}

/// The facts that a group of appends is judged on.
pub(super) struct Judgement {
    /// Entries of ids that were used before, by id and stream.
    used: HashMap<(EventId, StreamName), Item>,
    /// First ids of the group.
    own_ids: HashSet<(EventId, StreamName)>,
    /// Heads of streams that the group appends to.
    own_heads: HashMap<StreamName, Revision>,
}

/// First event and its stream, by which an append is known.
fn identity(append: &Append) -> Option<(EventId, StreamName)> {
    let part = append.streams.iter().find(|part| !part.events.is_empty())?;
    Some((part.events.first()?.id, part.stream.clone()))
}

impl Judgement {
    /// Reads what the appends depend on.
    pub(super) async fn begin(chain: &mut Chain, appends: &[&Append]) -> Result<Self, CallError> {
        let streams = appends.iter().flat_map(|append| &append.streams).map(|part| &part.stream);
        chain.load_heads(streams.collect()).await?;
        let ids: HashSet<_> = appends.iter().filter_map(|append| identity(append)).collect();
        let keys = ids.iter().map(|(id, stream)| key(&id_partition(*id), stream.as_str()));
        let found = chain.table().get_all(keys.collect(), KEYS_MAX).await?;
        let text = |item: &Item, name: &str| item.get(name).and_then(|it| it.as_s().ok()).cloned();
        let mut found: HashMap<_, Item> =
            found.into_iter().map(|item| ((text(&item, PK), text(&item, SK)), item)).collect();
        let mut used = HashMap::new();
        for (id, stream) in ids {
            let place = (Some(id_partition(id)), Some(stream.as_str().to_owned()));
            if let Some(entry) = found.remove(&place) {
                used.insert((id, stream), entry);
            }
        }
        Ok(Self { used, own_ids: HashSet::new(), own_heads: HashMap::new() })
    }

    /// Notes an append that the group records.
    pub(super) fn accept(&mut self, append: &LoggedAppend) {
        for (nth, part) in append.parts.iter().enumerate() {
            let last = part.first.number() + part.events.len() as u64 - 1;
            self.own_heads.insert(part.stream.clone(), Revision::new(last));
            let first = part.events.first().filter(|_| nth == 0);
            self.own_ids.extend(first.map(|event| (event.id, part.stream.clone())));
        }
    }

    pub(super) async fn judge(
        &self,
        chain: &Chain,
        append: &Append,
        has_others: bool,
    ) -> Result<Judged, CallError> {
        let identity = identity(append);
        if has_others && self.depends(append, identity.as_ref()) {
            return Ok(Judged::Later);
        }
        // Repeats come first: the expectations no longer hold then.
        if let Some((identity, entry)) =
            identity.as_ref().and_then(|it| Some((it, self.used.get(it)?)))
        {
            let past = past_append(chain.table(), entry, chain.end()).await?;
            if let Some(past) = past {
                return Ok(Judged::Answer(match is_repeat(append, &past.append) {
                    true => Ok(Box::new(past.answer)),
                    false => Err(Conflict::PartialRepeat { first_event: identity.0 }.into()),
                }));
            }
        }
        for part in &append.streams {
            if let Err(error) = self.check(chain, part).await {
                return Ok(Judged::Answer(Err(error)));
            }
        }
        if let Some(condition) = &append.condition
            && let Some(error) = check_condition(chain, condition).await?
        {
            return Ok(Judged::Answer(Err(error)));
        }
        if identity.is_none() {
            // A pure check: nothing to record.
            return Ok(Judged::Answer(Ok(Box::new(Appended::new(chain.end(), Vec::new())))));
        }
        let first =
            |stream: &StreamName| self.head(chain, stream).map_or(Revision::FIRST, Revision::next);
        Ok(Judged::Record(logged(append, first)))
    }

    /// Returns whether the outcome depends on the group's appends by more than heads of streams.
    fn depends(&self, append: &Append, identity: Option<&(EventId, StreamName)>) -> bool {
        let describes = |stream: &StreamName| {
            let described = stream.described_stream();
            let metadata = stream.metadata_stream().ok();
            let is_own = |other: Option<StreamName>| {
                other.is_some_and(|other| self.own_heads.contains_key(&other))
            };
            is_own(described) || is_own(metadata)
        };
        let repeats = identity.is_some_and(|identity| self.own_ids.contains(identity));
        let is_check = identity.is_none();
        let mut streams = append.streams.iter().map(|part| &part.stream);
        is_check || repeats || append.condition.is_some() || streams.any(describes)
    }

    fn head(&self, chain: &Chain, stream: &StreamName) -> Option<Revision> {
        self.own_heads.get(stream).copied().or_else(|| chain.head(stream))
    }

    async fn check(&self, chain: &Chain, part: &StreamAppend) -> Result<(), StoreError> {
        let described = part.stream.described_stream();
        // A tombstone also forbids the stream of the metadata.
        let subject = described.as_ref().unwrap_or(&part.stream);
        if chain.shared().described.of(subject).await.is_tombstoned {
            return Err(StoreError::Deleted { stream: subject.clone() });
        }
        let head = self.head(chain, &part.stream);
        let info = chain.shared().described.of(&part.stream).await;
        let live = head.filter(|head| !info.deletes(*head));
        // Revisions continue after a deletion, so an exact revision is compared with the real head.
        let compared = match part.expected {
            ExpectedRevision::Exact(_) => head,
            ExpectedRevision::Any | ExpectedRevision::NoStream | ExpectedRevision::StreamExists => {
                live
            }
        };
        if part.expected.admits(compared) {
            return Ok(());
        }
        let (stream, expected) = (part.stream.clone(), part.expected);
        Err(Conflict::Stream { stream, expected, head: compared }.into())
    }
}

fn is_repeat(append: &Append, past: &LoggedAppend) -> bool {
    let parts: Vec<_> = append.streams.iter().filter(|part| !part.events.is_empty()).collect();
    let is_alike = |(part, past): (&&StreamAppend, &super::super::codec::LoggedPart)| {
        let ids: Vec<EventId> = past.events.iter().map(|event| event.id).collect();
        part.repeats(&past.stream, past.first, &ids)
    };
    parts.len() == past.parts.len() && parts.iter().zip(&past.parts).all(is_alike)
}

/// Returns the conflict with the first event after the position that matches, if there is one.
async fn check_condition(
    chain: &Chain,
    condition: &AppendCondition,
) -> Result<Option<StoreError>, CallError> {
    let AppendCondition { none_matching, after } = condition;
    let end = chain.end();
    if *after > end {
        return Ok(Some(Invalid::BeyondHead { position: *after, head: end }.into()));
    }
    let now = chain.recorded_at(clock::now());
    let mut cursor = scan::Cursor::after(*after);
    while let Some(events) = cursor.forwards(chain.shared(), end).await? {
        for event in events {
            let matches = none_matching.matches(&event.event_type, &event.tags);
            if matches && scan::is_visible(chain.shared(), &event, end, now).await? {
                return Ok(Some(Conflict::Condition { matching: event.position }.into()));
            }
        }
    }
    Ok(None)
}

/// Refuses metadata that do not fit into the log's item, where readers look for them.
pub(in crate::events) fn check_metadata(
    append: &Append,
    limits: &Limits,
) -> Result<(), StoreError> {
    let metadata = append.streams.iter().filter(|part| part.stream.described_stream().is_some());
    let mut total = 0;
    for event in metadata.flat_map(|part| &part.events) {
        total += event.content_bytes() + limits.event_overhead_bytes;
    }
    if total > INLINE_BYTES_MAX {
        let limit = "bytes of stream metadata per append";
        return Err(Invalid::Limit { limit, actual: total, max: INLINE_BYTES_MAX }.into());
    }
    Ok(())
}
