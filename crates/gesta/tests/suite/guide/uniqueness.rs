//! The code of `docs/guide/uniqueness.md`.

use gesta::{ExecuteError, Ref, prelude::*, testing::given};

const EMAIL: TagKey<str> = TagKey::new("email");

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "email-taken")]
struct EmailTaken {
    #[event(tag = EMAIL)]
    email: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "email-freed")]
struct EmailFreed {
    #[event(tag = EMAIL)]
    email: String,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum MemberEvent {
    Taken(EmailTaken),
    Freed(EmailFreed),
}

#[derive(Default)]
struct Member {
    email: String,
}

impl Aggregate for Member {
    const CATEGORY: &'static str = "member";
    type Id = u32;
    type Event = MemberEvent;

    fn evolve(&mut self, event: &MemberEvent) {
        if let MemberEvent::Taken(taken) = event {
            self.email = taken.email.clone();
        }
    }
}

/// An e-mail address, among all members.
#[derive(Default)]
struct Email {
    taken: bool,
}

impl Aggregate for Email {
    const CATEGORY: &'static str = "email";
    type Id = String;
    type Event = MemberEvent;

    fn evolve(&mut self, event: &MemberEvent) {
        self.taken = matches!(event, MemberEvent::Taken(_));
    }

    fn reads(email: &String) -> Reads<MemberEvent> {
        Selection::tagged(EMAIL, email.as_str()).into()
    }
}

#[derive(Debug, PartialEq, thiserror::Error, Rejection)]
#[error("another member has this e-mail address")]
#[rejection(code = "email-taken")]
struct EmailIsTaken;

#[derive(Command, Serialize, Deserialize)]
#[command(name = "join", on = (Member, Ref<Email>), new)]
struct Join {
    #[command(id)]
    member: u32,
    #[command(id)]
    email: String,
}

impl Decide for Join {
    type Rejection = EmailIsTaken;

    fn decide(&self, (_, email): &(Member, Email)) -> Decision<Self> {
        if email.taken {
            return Err(EmailIsTaken);
        }
        Ok((EmailTaken { email: self.email.clone() }.into(), ()))
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "change-email", on = (Member, Ref<Email>))]
struct ChangeEmail {
    #[command(id)]
    member: u32,
    #[command(id)]
    email: String,
}

impl Decide for ChangeEmail {
    type Rejection = EmailIsTaken;

    fn decide(&self, (member, email): &(Member, Email)) -> Decision<Self> {
        if member.email == self.email {
            return Ok((Events::none(), ()));
        }
        if email.taken {
            return Err(EmailIsTaken);
        }
        let freed = EmailFreed { email: member.email.clone() };
        let taken = EmailTaken { email: self.email.clone() };
        Ok((Events::none().and(freed).and(taken), ()))
    }
}

#[test]
fn an_address_of_another_member_is_refused() {
    let taken = EmailTaken { email: "ann@example.org".into() };
    given::<(Member, Ref<Email>)>((vec![], vec![taken.into()]))
        .when(Join { member: 2, email: "ann@example.org".into() })
        .then_rejected(EmailIsTaken);
}

#[tokio::test]
async fn an_address_is_taken_once_and_free_after_a_change() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    let join = |member| Join { member, email: "ann@example.org".into() };
    gesta.execute(join(1)).await.unwrap();
    let refused = gesta.execute(join(2)).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::Rejected(EmailIsTaken)));

    gesta.execute(ChangeEmail { member: 1, email: "ann@example.net".into() }).await.unwrap();
    gesta.execute(join(2)).await.unwrap();
}

#[tokio::test]
async fn one_of_many_requests_at_once_gets_the_address() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for member in 0..20 {
        let gesta = gesta.clone();
        tasks.spawn(async move {
            gesta.execute(Join { member, email: "ann@example.org".into() }).await.is_ok()
        });
    }
    let joined = tasks.join_all().await;
    assert_eq!(joined.iter().filter(|joined| **joined).count(), 1);
}
