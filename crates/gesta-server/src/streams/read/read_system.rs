//! Reads of streams that the index answers.

use gesta_store::{EventStore, Ordinal, ReadFrom, ReadOrdinals, Revision, StoreError};

use super::{
    answers::{Answers, Ended},
    messages::{last_stream_position, stream_not_found},
    read_stream::ReadOne,
    system_stream::SystemStream,
};
use gesta_store::Direction;

pub(super) async fn answer(
    answers: Answers,
    read: ReadOne,
    system: SystemStream,
) -> Result<(), Ended> {
    let ReadOne { from, direction, limit, is_end_told, .. } = read;
    let mut request = match direction {
        Direction::Forwards => ReadOrdinals::forwards(system.index.clone()),
        Direction::Backwards => ReadOrdinals::backwards(system.index.clone()),
    };
    request.from = ordinal(from);
    let store = answers.node.store();
    let mut pages = store.read_ordinals(request.limit(limit));
    let mut count = 0;
    while count < limit {
        let turn = answers.turn().await?;
        let Some(page) = pages.next().await else { break };
        let page = page?;
        count += page.len() as u64;
        let links = system.links(store, page, answers.resolves_links()).await?;
        answers.send_page(turn, answers.links(links).await?).await?;
    }
    if count > 0 && !(is_end_told && count < limit) {
        return Ok(());
    }
    match last_ordinal(store, &system).await? {
        None => answers.send(vec![stream_not_found(&system.name)]).await,
        Some(last) if is_end_told => answers.send(vec![last_stream_position(last.number())]).await,
        Some(_) => Ok(()),
    }
}

/// Returns the ordinal of the last event, or `None` if there is no event.
pub(crate) async fn last_ordinal(
    store: &dyn EventStore,
    system: &SystemStream,
) -> Result<Option<Ordinal>, StoreError> {
    let last = ReadOrdinals::backwards(system.index.clone()).limit(1);
    let last = store.read_ordinals(last).collect_events().await?.pop();
    Ok(last.map(|event| event.ordinal))
}

fn ordinal(from: ReadFrom<Revision>) -> ReadFrom<Ordinal> {
    match from {
        ReadFrom::Start => ReadFrom::Start,
        ReadFrom::At(revision) => ReadFrom::At(Ordinal::new(revision.number())),
        // The protocol has no other start.
        _ => ReadFrom::End,
    }
}
