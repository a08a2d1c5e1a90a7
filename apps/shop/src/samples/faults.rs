//! Faults that give an operator something to do: dead letters, inputs that are set aside, pending
//! timers, refused commands, and rebuilds that await a decision.
//!
//! The examples of the operator's operations name them. No command leads to most of them, so events
//! are appended that another, faulty program could have written.
//!
//! Invariant: ids that the store and the pace of its readers decide on are looked up, and given to
//! the examples by [`prepare`].
//!
//! Not here: the mends, which the operator makes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use gesta::{
    DeadLetterId, EffectKey, EventId, EventType, Gesta, Position, ProcessManager as _,
    ProjectionState, StreamName,
    audit::Operator,
    store::{Append, DeleteStream, ExpectedRevision, NewEvent},
};
use serde_json::{Value, json};

use super::{AT, Example, PRODUCT, SampleError, execute};
use crate::{
    accounts::OpenAccount,
    orders::{Fulfilment, PlaceOrder},
    processes::ProcessDelays,
    users::{CreateUser, Welcome},
};

/// A dead letter whose retry succeeds, in most stores.
pub const LETTER_TO_RETRY: &str = "accounts@1";
/// A dead letter that nothing mends, in most stores.
pub const LETTER_TO_DISCARD: &str = "users@2";
/// A dead letter that stays, in most stores.
pub const LETTER_TO_TRY: &str = "users@4";
/// A subject whose set-aside inputs can be handled.
pub const SUBJECT_TO_RETRY: &str = "instance:mended";
/// A subject with an event that cannot be read.
pub const SUBJECT_TO_SKIP: &str = "stream:user-poison";
/// The number of that event among the set-aside inputs, in most stores.
pub const INPUT_TO_SKIP: u64 = 1;
/// An instance of the welcome process that runs.
pub const INSTANCE_TO_CANCEL: &str = "to-cancel";
/// An instance of the welcome process with a pending timer.
pub const INSTANCE_TO_FIRE: &str = "to-fire";
/// Its timer, in most stores.
pub const TIMER_TO_FIRE: &str = "0.0";
/// An instance of the fulfilment process with a refused command.
pub const INSTANCE_TO_RESEND: &str = "sample-to-resend";
/// Its refused command, in many stores: the inputs of a process come in an order of their own.
pub const COMMAND_TO_RESEND: &str = "1.0";
/// An event whose mail can be written.
pub const EFFECT_TO_RETRY: &str = "00000000-0000-4000-8000-000000000011";
/// An event that the reactor cannot read.
pub const EFFECT_TO_DISCARD: &str = "00000000-0000-4000-8000-000000000001";

/// Delays with which the timers of the samples stay pending.
pub const DELAYS: ProcessDelays = ProcessDelays {
    welcome: Duration::from_secs(24 * 60 * 60),
    payment: Duration::from_secs(24 * 60 * 60),
};

/// Projections whose replaced rows are kept.
const REBUILT: [&str; 2] = ["products", "credit-notes"];
/// A projection with a dead letter that a retry mends.
const MENDED: &str = "accounts";
/// A projection with dead letters that nothing mends. Its rebuild finds a discarded one again.
const FAULTY: &str = "users";
/// Number of subjects that the welcome process sets aside.
const SET_ASIDE: usize = 2;
/// Number of events whose effect fails.
const EFFECTS: usize = 2;
/// Name of the reactor.
const REACTOR: &str = "welcome-mail";

/// Pause between two looks at a state.
const POLL: Duration = Duration::from_millis(50);
/// Maximum number of looks. The attempts of an effect take 25 seconds.
const POLLS_MAX: u32 = 2_400;

/// Appends the events that cannot be handled, in a shop without its process managers and reactors.
/// Returns `false`, and appends nothing, if the store has events already.
///
/// # Errors
/// [`SampleError`] if the store does not accept them.
pub async fn plant(gesta: &Gesta) -> Result<bool, SampleError> {
    let head = gesta.store().head().await.map_err(SampleError::of("faults"))?;
    if head.position != Position::START {
        return Ok(false);
    }
    let deposit = json!({
        "accountId": "early", "amount": "1", "reference": "early", "occurredAt": AT,
    });
    let planted = [
        ("account-odd-early", "money-deposited", deposit),
        ("user-odd-1", "user-updated", json!({})),
        ("user-odd-2", "user-updated", json!({})),
        ("user-poison", "user-created", json!({})),
        // The stream of an instance, which cannot be read.
        ("process:welcome-mended", "process-reacted", json!({})),
    ];
    for (stream, event_type, data) in planted {
        append(gesta, stream, event_type, EventId::random(), &data).await?;
    }
    Ok(true)
}

/// Brings the faults about, in a shop whose store [`plant`] has prepared, after the
/// [samples](super::prepare). `outbox` is the directory of mails. Takes about half a minute: a
/// reactor attempts an effect several times. Returns the examples that name what only this store
/// knows.
///
/// # Errors
/// [`SampleError`] if a command is refused, or a fault does not show in time.
pub async fn prepare(gesta: &Gesta, outbox: &Path) -> Result<Vec<Example>, SampleError> {
    let blocked = append_effects_that_fail(gesta, outbox).await?;
    // Two changes of users that were never created, a user and a welcome that cannot be read.
    let [letter_to_discard, found_again, letter_to_try, _] = letters_of(gesta, FAULTY).await?;
    let [letter_to_retry] = letters_of(gesta, MENDED).await?;
    for id in ["mended", INSTANCE_TO_CANCEL, INSTANCE_TO_FIRE] {
        create_user(gesta, id, None).await?;
    }
    for id in ["early", "poor"] {
        let account = json!({ "accountId": id, "currency": "GBP", "occurredAt": AT });
        execute::<OpenAccount>(gesta, &format!("account-{id}"), account).await?;
    }
    // Its payment is refused: the account has no money.
    let item = json!({ "productId": PRODUCT, "unitPrice": "2.5", "quantity": 1 });
    let order = json!({
        "orderId": INSTANCE_TO_RESEND, "paymentAccountId": "poor", "orderItems": [item],
        "occurredAt": AT,
    });
    execute::<PlaceOrder>(gesta, "place-to-resend", order).await?;
    mend_instance(gesta).await?;
    rebuild(gesta, &found_again).await?;
    let mut examples = process_examples(gesta).await?;
    examples.push(Example::new("tryDeadLetter", "id", letter_to_try.to_string()));
    examples.push(Example::new("retryDeadLetter", "id", letter_to_retry.to_string()));
    examples.push(Example::new("discardDeadLetter", "id", letter_to_discard.to_string()));
    until("the dead letters of the reactor", async || {
        let letters = gesta.reactor_dead_letters(REACTOR).await;
        letters.is_ok_and(|letters| letters.len() == EFFECTS)
    })
    .await?;
    fs::remove_dir(blocked).map_err(SampleError::of("the place of a mail"))?;
    Ok(examples)
}

/// Waits for the ids of all dead letters of a projection. Returns them by their positions.
async fn letters_of<const COUNT: usize>(
    gesta: &Gesta,
    projection: &str,
) -> Result<[DeadLetterId; COUNT], SampleError> {
    until_found("the dead letters", async || {
        let letters = gesta.dead_letters().await.ok()?.into_iter().map(|(id, _)| id);
        let mut ids: Vec<_> = letters.filter(|id| id.projection == projection).collect();
        ids.sort_by_key(|id| id.position);
        ids.try_into().ok()
    })
    .await
}

/// Waits for what the process managers have for an operator. Returns the examples that name it.
async fn process_examples(gesta: &Gesta) -> Result<Vec<Example>, SampleError> {
    let refused = until_found("the refused payment", async || {
        let details = gesta.process_instance(Fulfilment::NAME, INSTANCE_TO_RESEND).await.ok()?;
        Some(details.refused.first()?.id)
    });
    let timer = until_found("the pending timer", async || {
        let details = gesta.process_instance(Welcome::NAME, INSTANCE_TO_FIRE).await.ok()?;
        Some(details.timers.first()?.id)
    });
    let input = until_found("the input to skip", async || {
        let set_aside = gesta.process_set_aside(Welcome::NAME).await.ok()?;
        let of_subject = set_aside.iter().find(|it| it.subject.to_string() == SUBJECT_TO_SKIP);
        Some(of_subject?.inputs.first()?.number)
    });
    Ok(vec![
        Example::new("resendProcessCommand", "command", refused.await?.to_string()),
        Example::new("fireProcessTimer", "timer", timer.await?.to_string()),
        Example::new("skipProcessInput", "number", input.await?),
    ])
}

async fn create_user(gesta: &Gesta, id: &str, email: Option<&str>) -> Result<(), SampleError> {
    let mut user = json!({ "userId": id, "firstName": "A", "lastName": "B" });
    if let (Some(email), Some(members)) = (email, user.as_object_mut()) {
        members.insert("email".to_owned(), email.into());
    }
    execute::<CreateUser>(gesta, &format!("user-{id}"), user).await
}

/// Records that a user was welcomed whose mail cannot be written, and that one was whose event
/// cannot be read. Returns the directory in the place of the mail.
async fn append_effects_that_fail(gesta: &Gesta, outbox: &Path) -> Result<PathBuf, SampleError> {
    create_user(gesta, "blocked", Some("blocked@example.org")).await?;
    let event: EventId = EFFECT_TO_RETRY.parse().map_err(SampleError::of("effects"))?;
    let blocked = outbox.join(format!("{}.eml", EffectKey::new(REACTOR, event)));
    fs::create_dir_all(&blocked).map_err(SampleError::of("effects"))?;
    let welcomed = json!({ "userId": "blocked" });
    append(gesta, "welcome-blocked", "user-welcomed", event, &welcomed).await?;
    let event = EFFECT_TO_DISCARD.parse().map_err(SampleError::of("effects"))?;
    append(gesta, "welcome-poison", "user-welcomed", event, &json!({})).await?;
    Ok(blocked)
}

/// Waits until the inputs of an unreadable instance are set aside, and makes it readable.
async fn mend_instance(gesta: &Gesta) -> Result<(), SampleError> {
    until("the inputs that are set aside", async || {
        let set_aside = gesta.process_set_aside(Welcome::NAME).await;
        set_aside.is_ok_and(|set_aside| set_aside.len() == SET_ASIDE)
    })
    .await?;
    let stream = StreamName::stored("process:welcome-mended").map_err(SampleError::of("mended"))?;
    let delete = DeleteStream::new(stream, ExpectedRevision::Any);
    gesta.store().delete_stream(delete).await.map_err(SampleError::of("mended"))?;
    Ok(())
}

/// Rebuilds projections: some keep the rows that were replaced, one finds this dead letter again.
async fn rebuild(gesta: &Gesta, found_again: &DeadLetterId) -> Result<(), SampleError> {
    let operator = Operator::new("demo").because("samples");
    let discarded = gesta.discard_dead_letter(found_again, &operator).await;
    discarded.map_err(SampleError::of("discard"))?;
    for name in REBUILT.into_iter().chain([FAULTY]) {
        gesta.rebuild(name, &operator).await.map_err(SampleError::of("rebuild"))?;
    }
    until("the rebuilds", async || {
        let Ok(all) = gesta.projections().await else { return false };
        all.iter().all(|status| match status.name {
            name if REBUILT.contains(&name) => status.old_rows.is_some(),
            FAULTY => {
                matches!(status.state, ProjectionState::AwaitingConfirmation(_))
            }
            _ => true,
        })
    })
    .await
}

async fn append(
    gesta: &Gesta,
    stream: &str,
    event_type: &str,
    id: EventId,
    data: &Value,
) -> Result<(), SampleError> {
    let name = StreamName::stored(stream).map_err(SampleError::of(stream))?;
    let event_type = EventType::new(event_type).map_err(SampleError::of(stream))?;
    let event = NewEvent::json(id, event_type, data.to_string());
    let append = Append::to(name, ExpectedRevision::Any, [event]);
    gesta.store().append(append).await.map_err(SampleError::of(stream))?;
    Ok(())
}

/// Waits until something can be found.
async fn until_found<T>(name: &str, find: impl AsyncFn() -> Option<T>) -> Result<T, SampleError> {
    for _ in 0..POLLS_MAX {
        if let Some(found) = find().await {
            return Ok(found);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(SampleError::of(name)("it does not show in time"))
}

/// Waits until a state holds.
async fn until(name: &str, holds: impl AsyncFn() -> bool) -> Result<(), SampleError> {
    until_found(name, async || holds().await.then_some(())).await
}
