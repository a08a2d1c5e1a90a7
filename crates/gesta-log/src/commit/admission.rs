//! Admission of an append to the open group: validate it, then encode it or answer it.
//!
//! Invariant: an answer that depends on a group is sent with that group, and all others at once.

use gesta_store::{Appended, Position};

use super::{
    action::Action,
    group::Group,
    queue::QueuedAppend,
    validation::{CommittedView, Validator, Verdict, first_event},
};
use crate::mutations::mutated;

/// Validates an append against the log, the group in flight and the open group; then encodes it
/// into the open group, or answers it.
pub(super) fn admit(
    append: QueuedAppend,
    open: &mut Group,
    mut in_flight: Option<&mut Group>,
    view: CommittedView<'_>,
    actions: &mut Vec<Action>,
) {
    let QueuedAppend { pending, responder } = append;
    let groups = [in_flight.as_deref(), Some(&*open)];
    let validator = Validator { view, groups, recorded_at: open.recorded_at() };
    let (result, depends) = match validator.validate(&pending.append, &pending.precheck) {
        Verdict::Accept(revisions) if revisions.is_empty() => {
            // A pure check that holds. It saw the groups in flight, so it depends on them.
            let position = Position::new(open.events.next().number() - 1);
            let appended = Appended::new(position, Vec::new());
            (Ok(appended), !mutated!(CheckFromInFlightAppend))
        }
        Verdict::Accept(revisions) => {
            let appended = open.encode(pending, revisions, in_flight.as_deref(), view.index);
            return open.answers.push((responder, Ok(appended)));
        }
        Verdict::Answer { result, depends } => (result, depends),
    };
    let early = match &result {
        Ok(_) => mutated!(RepeatFromInFlightAppend),
        Err(_) => mutated!(ConflictFromInFlightAppend),
    };
    let first = first_event(&pending.append);
    let repeats = |group: &Group| first.is_some_and(|(id, of)| group.find(id, of).is_some());
    match &mut in_flight {
        _ if !depends || early => actions.push(Action::Answer(vec![(responder, result)])),
        // A repeat shares the fate of its first attempt.
        Some(group) if open.is_empty() || repeats(group) => {
            group.answers.push((responder, result));
        }
        _ if !open.is_empty() => open.answers.push((responder, result)),
        _ => actions.push(Action::Answer(vec![(responder, result)])),
    }
}
