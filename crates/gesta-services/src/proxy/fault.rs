//! Faults: a message to wait for, and an action.

use std::{
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::messages::Message;

/// Maximum time until a fault has happened.
const INJECTED_MAX: Duration = Duration::from_secs(60);

/// A fault that happens once, at the first message that it selects.
pub struct Fault {
    selects: Box<dyn FnMut(&Message) -> bool + Send>,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    CutBefore,
    CutAfter,
    StallBefore,
}

impl Fault {
    /// Closes the connection instead of delivering the message. The other side has got everything
    /// that was sent before.
    pub fn cut_before(selects: impl FnMut(&Message) -> bool + Send + 'static) -> Self {
        Self { selects: Box::new(selects), action: Action::CutBefore }
    }

    /// Delivers the message, and then closes the connection. The sender gets no answer.
    pub fn cut_after(selects: impl FnMut(&Message) -> bool + Send + 'static) -> Self {
        Self { selects: Box::new(selects), action: Action::CutAfter }
    }

    /// Holds back the message, and later ones of its direction and connection, until
    /// [`FaultProxy::resume`](super::FaultProxy::resume).
    pub fn stall_before(selects: impl FnMut(&Message) -> bool + Send + 'static) -> Self {
        Self { selects: Box::new(selects), action: Action::StallBefore }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("action", &self.action).finish_non_exhaustive()
    }
}

/// The decision about one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Deliver,
    /// Close the connection without delivering.
    Cut,
    DeliverAndCut,
}

/// The faults that wait for their message.
#[derive(Debug, Default)]
pub(super) struct Faults {
    state: Mutex<FaultState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct FaultState {
    waiting: Vec<Fault>,
    is_stalled: bool,
    /// Raised by each `resume`, for messages that wait for one.
    resumed: u64,
}

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        self.lock().waiting.push(fault);
    }

    pub(super) fn stall(&self) {
        self.lock().is_stalled = true;
    }

    pub(super) fn resume(&self) {
        let mut state = self.lock();
        state.is_stalled = false;
        state.resumed += 1;
        self.changed.notify_all();
    }

    pub(super) fn wait_until_injected(&self) {
        let waits = |state: &mut FaultState| !state.waiting.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), INJECTED_MAX, waits);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let left = state.waiting.len();
        drop(state);
        assert!(left == 0, "{left} faults did not happen within {INJECTED_MAX:?}");
    }

    /// Decides about a message. Blocks while it is held back.
    pub(super) fn decide(&self, message: &Message) -> Decision {
        let mut state = self.lock();
        let action = take_selecting(&mut state.waiting, message);
        self.changed.notify_all();
        let resumed = state.resumed;
        let is_held = action == Some(Action::StallBefore);
        let waits =
            |state: &mut FaultState| state.is_stalled || (is_held && state.resumed == resumed);
        drop(self.changed.wait_while(state, waits));
        match action {
            None | Some(Action::StallBefore) => Decision::Deliver,
            Some(Action::CutBefore) => Decision::Cut,
            Some(Action::CutAfter) => Decision::DeliverAndCut,
        }
    }

    fn lock(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the first fault that selects the message, and returns its action.
fn take_selecting(waiting: &mut Vec<Fault>, message: &Message) -> Option<Action> {
    let selecting = waiting.iter_mut().position(|fault| (fault.selects)(message))?;
    Some(waiting.remove(selecting).action)
}
