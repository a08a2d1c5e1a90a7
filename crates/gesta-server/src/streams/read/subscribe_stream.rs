//! Subscriptions to one stream.

use gesta_store::{Delivery, ReadFrom, Revision, StoreError, StreamName, Subscribe};

use super::{
    answers::{Answers, Ended},
    messages::{caught_up_with_stream, confirmation},
    tombstones::refuse_ended_metadata,
};

pub(super) async fn answer(
    answers: Answers,
    stream: StreamName,
    from: ReadFrom<Revision>,
) -> Result<(), Ended> {
    answers.until_stopped(deliver(&answers, stream, from)).await
}

async fn deliver(
    answers: &Answers,
    stream: StreamName,
    from: ReadFrom<Revision>,
) -> Result<(), Ended> {
    let store = answers.node.store();
    refuse_ended_metadata(store, &stream).await?;
    // The last revision that the client knows.
    let mut last = match from {
        ReadFrom::At(revision) => Some(revision),
        ReadFrom::End => store.describe_stream(&stream).await?.head,
        _ => None,
    };
    let request = Subscribe::to_stream(stream);
    let request = match last {
        Some(revision) => request.after(revision),
        None => request,
    };
    let mut subscription = store.subscribe(request.into());
    answers.send(vec![confirmation()]).await?;
    while let Some(delivery) = subscription.next().await {
        match delivery? {
            Delivery::Events(events) => {
                last = events.last().map(|event| event.revision).or(last);
                answers.send(answers.events(events).await?).await?;
            }
            Delivery::CaughtUp(_) => {
                let revision = last.map(Revision::number);
                answers.send(vec![caught_up_with_stream(revision)]).await?;
            }
            _ => {}
        }
    }
    Err(StoreError::closed().into())
}
