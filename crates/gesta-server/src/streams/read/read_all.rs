//! Reads of the whole store.
//!
//! Invariant: streams of the system are shown to those who may read them
//! ([`StoreView`](crate::access::StoreView)).

use gesta_store::{Direction, Filter, Position, ReadAll, ReadFrom};

use super::{
    answers::{Answers, Ended},
    filter::FilterRequest,
    tombstones::as_ends,
};

pub(super) struct ReadWhole {
    pub(super) from: ReadFrom<Position>,
    pub(super) filter: Option<FilterRequest>,
    pub(super) direction: Direction,
    pub(super) limit: u64,
}

pub(super) async fn answer(answers: Answers, read: ReadWhole) -> Result<(), Ended> {
    let ReadWhole { from, filter, direction, limit } = read;
    let from = match (direction, from) {
        // The protocol leaves the event at the position out when it reads backwards.
        (Direction::Backwards, ReadFrom::At(position)) => match position.number().checked_sub(1) {
            Some(before) => ReadFrom::At(Position::new(before)),
            None => return Ok(()),
        },
        (_, from) => from,
    };
    let filter = filter.map_or(Filter::Everything, |request| request.filter);
    let request = ReadAll::towards(direction).starting(from).filter(filter);
    // If events are left out, the store cannot know where the read ends.
    let request = if answers.view().is_whole() { request.limit(limit) } else { request };
    let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut pages = answers.node.store().read_all(request);
    while left > 0 {
        let turn = answers.turn().await?;
        let Some(page) = pages.next().await else { break };
        let mut events = answers.view().of_page(page?).await?;
        events.truncate(left);
        left -= events.len();
        answers.send_page(turn, answers.events(as_ends(events)).await?).await?;
    }
    Ok(())
}
