//! Subscriptions to streams that the index answers.
//!
//! Invariant: revisions are the index's ordinals. Events are always read from the index; a
//! subscription to the whole store only tells when there are more.

use gesta_store::{
    Delivery, Ordinal, Position, ReadFrom, ReadOrdinals, Revision, StoreError, Subscribe,
};

use super::{
    answers::{Answers, Ended},
    messages::{caught_up_with_stream, confirmation},
    read_system::last_ordinal,
    system_stream::SystemStream,
};

pub(super) async fn answer(
    answers: Answers,
    system: SystemStream,
    from: ReadFrom<Revision>,
) -> Result<(), Ended> {
    answers.until_stopped(deliver(&answers, &system, from)).await
}

async fn deliver(
    answers: &Answers,
    system: &SystemStream,
    from: ReadFrom<Revision>,
) -> Result<(), Ended> {
    let store = answers.node.store();
    // The last ordinal that the client knows.
    let mut last = match from {
        ReadFrom::At(revision) => Some(Ordinal::new(revision.number())),
        ReadFrom::End => last_ordinal(store, system).await?,
        _ => None,
    };
    answers.send(vec![confirmation()]).await?;
    // Events that are recorded from here on wake the loop below.
    let seen = store.head().await?.position;
    read_new(answers, system, &mut last, seen).await?;
    answers.send(vec![caught_up_with_stream(last.map(Ordinal::number))]).await?;
    let request = Subscribe::to_all().after(seen).filter(system.filter());
    let mut subscription = store.subscribe(request.into());
    while let Some(delivery) = subscription.next().await {
        if let Delivery::Events(events) = delivery?
            && let Some(newest) = events.last()
        {
            read_new(answers, system, &mut last, newest.position).await?;
        }
    }
    Err(StoreError::closed().into())
}

/// Sends the events after the last ordinal, up to a position.
async fn read_new(
    answers: &Answers,
    system: &SystemStream,
    last: &mut Option<Ordinal>,
    up_to: Position,
) -> Result<(), Ended> {
    let store = answers.node.store();
    let next = last.map_or(Ordinal::FIRST, |last| Ordinal::new(last.number().saturating_add(1)));
    let mut pages = store.read_ordinals(ReadOrdinals::forwards(system.index.clone()).from(next));
    while let Some(page) = pages.next().await {
        let mut page = page?;
        let is_last = page.last().is_some_and(|event| event.event.position >= up_to);
        page.retain(|event| event.event.position <= up_to);
        if let Some(newest) = page.last() {
            *last = Some(newest.ordinal);
            let links = system.links(store, page, answers.resolves_links()).await?;
            answers.send(answers.links(links).await?).await?;
        }
        if is_last {
            break;
        }
    }
    Ok(())
}
