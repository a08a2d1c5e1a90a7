//! The welcome process: welcomes a user after a delay, unless they were deleted.

use std::time::Duration;

use gesta::prelude::*;

use super::{UserCreated, UserDeleted, WelcomeUser};
use crate::id::UserId;

/// Welcomes each user a short time after their creation.
#[derive(Clone, Debug)]
pub struct Welcome {
    delay: Duration,
    user: Option<UserId>,
}

impl Welcome {
    /// Default delay between creation and welcome.
    pub const DELAY: Duration = Duration::from_secs(1);

    /// Creates the process with a delay between creation and welcome.
    #[must_use]
    pub const fn after(delay: Duration) -> Self {
        Self { delay, user: None }
    }
}

impl Default for Welcome {
    fn default() -> Self {
        Self::after(Self::DELAY)
    }
}

/// The events that start and end the process.
#[derive(EventSet, Clone, Debug, PartialEq)]
pub enum WelcomeEvent {
    /// A user was created and will be welcomed.
    Created(UserCreated),
    /// A user was deleted and will not be welcomed.
    Deleted(UserDeleted),
}

/// The timer that fires when the welcome is due.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct WelcomeDue;

impl ProcessManager for Welcome {
    const NAME: &'static str = "welcome";
    type Event = WelcomeEvent;
    type Timer = WelcomeDue;
    type Commands = (WelcomeUser,);

    fn route(event: &Recorded<WelcomeEvent>) -> Routing {
        match &event.event {
            // Only a creation starts an instance: a deletion of an unknown user is not one.
            WelcomeEvent::Created(created) => Routing::start(&created.user_id),
            WelcomeEvent::Deleted(deleted) => Routing::continue_with(&deleted.user_id),
        }
    }

    fn evolve(&mut self, input: &Input<Self>) {
        // A timer carries no data of its own, so the user is remembered until then.
        if let Input::Event(WelcomeEvent::Created(created)) = input {
            self.user = Some(created.user_id.clone());
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        match (input, self.user.clone()) {
            (Input::Event(WelcomeEvent::Created(_)), _) => {
                Effects::none().after(self.delay, WelcomeDue)
            }
            (Input::Timer(WelcomeDue), Some(user_id)) => {
                Effects::none().send(WelcomeUser { user_id }).end()
            }
            // A deletion cancels the timer, because the process ends.
            (Input::Event(WelcomeEvent::Deleted(_)) | Input::Rejected(_), _)
            | (Input::Timer(WelcomeDue), None) => Effects::none().end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use gesta::testing::{Reaction, reaction_of};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    fn created() -> Input<Welcome> {
        let (first_name, last_name) = ("Ann".to_owned(), "Lee".to_owned());
        Input::event(UserCreated { user_id: ann(), first_name, last_name, email: None })
    }

    fn welcome() -> Reaction<Welcome> {
        reaction_of(Welcome::after(MINUTE))
    }

    #[test]
    fn a_new_user_is_welcomed_after_the_delay() {
        welcome().when(created()).then(Effects::none().after(MINUTE, WelcomeDue));
        let sent = Effects::none().send(WelcomeUser { user_id: ann() }).end();
        welcome().given([created()]).when(Input::Timer(WelcomeDue)).then(sent);
    }

    #[test]
    fn a_user_who_is_deleted_before_is_not_welcomed() {
        let deleted = Input::event(UserDeleted { user_id: ann(), freed_email: None });
        welcome().given([created()]).when(deleted).then(Effects::none().end());
    }
}
