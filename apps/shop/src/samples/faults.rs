//! Faults that give an operator something to do: dead letters, inputs that are set aside, pending
//! timers, refused commands, and rebuilds that await a decision.
//!
//! The examples of the operator's operations name them. No command leads to most of them, so events
//! are appended that another, faulty program could have written. They need the first positions of a
//! store, which the ids of dead letters consist of.
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

use super::{AT, PRODUCT, SampleError, execute};
use crate::{
    accounts::OpenAccount,
    orders::{Fulfilment, PlaceOrder},
    processes::ProcessDelays,
    users::CreateUser,
};

/// A dead letter whose retry succeeds.
pub const LETTER_TO_RETRY: &str = "accounts@1";
/// A dead letter that nothing mends.
pub const LETTER_TO_DISCARD: &str = "users@2";
/// A subject whose set-aside inputs can be handled.
pub const SUBJECT_TO_RETRY: &str = "instance:mended";
/// A subject with an event that cannot be read.
pub const SUBJECT_TO_SKIP: &str = "stream:user-poison";
/// The number of that event among the set-aside inputs.
pub const INPUT_TO_SKIP: u64 = 1;
/// An instance of the welcome process that runs.
pub const INSTANCE_TO_CANCEL: &str = "to-cancel";
/// An instance of the welcome process with a pending timer.
pub const INSTANCE_TO_FIRE: &str = "to-fire";
/// An instance of the fulfilment process with a refused command.
pub const INSTANCE_TO_RESEND: &str = "sample-to-resend";
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
/// The dead letter that a rebuild of its projection finds again.
const FOUND_AGAIN: (&str, u64) = ("users", 3);
/// Number of subjects that the welcome process sets aside.
const SET_ASIDE: usize = 2;
/// Number of events whose effect fails.
const EFFECTS: usize = 2;
/// Name of the reactor.
const REACTOR: &str = "welcome-mail";
/// Name of the process manager whose inputs are set aside.
const PROCESS: &str = "welcome";

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
/// reactor attempts an effect several times.
///
/// # Errors
/// [`SampleError`] if a command is refused, or a fault does not show in time.
pub async fn prepare(gesta: &Gesta, outbox: &Path) -> Result<(), SampleError> {
    let blocked = append_effects_that_fail(gesta, outbox).await?;
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
    rebuild(gesta).await?;
    until("the dead letters of the reactor", async || {
        let letters = gesta.reactor_dead_letters(REACTOR).await;
        letters.is_ok_and(|letters| letters.len() == EFFECTS)
    })
    .await?;
    fs::remove_dir(blocked).map_err(SampleError::of("the place of a mail"))
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
        let set_aside = gesta.process_set_aside(PROCESS).await;
        set_aside.is_ok_and(|set_aside| set_aside.len() == SET_ASIDE)
    })
    .await?;
    let stream = StreamName::stored("process:welcome-mended").map_err(SampleError::of("mended"))?;
    let delete = DeleteStream::new(stream, ExpectedRevision::Any);
    gesta.store().delete_stream(delete).await.map_err(SampleError::of("mended"))?;
    Ok(())
}

/// Rebuilds projections: some keep the rows that were replaced, one finds a dead letter again.
async fn rebuild(gesta: &Gesta) -> Result<(), SampleError> {
    let operator = Operator::new("demo").because("samples");
    let (projection, position) = FOUND_AGAIN;
    let position = Position::new(position);
    let letter = DeadLetterId { projection: projection.to_owned(), position };
    until("the dead letters", async || {
        let letters = gesta.dead_letters().await;
        letters.is_ok_and(|letters| letters.iter().any(|(id, _)| *id == letter))
    })
    .await?;
    let discarded = gesta.discard_dead_letter(&letter, &operator).await;
    discarded.map_err(SampleError::of("discard"))?;
    for name in REBUILT.into_iter().chain([projection]) {
        gesta.rebuild(name, &operator).await.map_err(SampleError::of("rebuild"))?;
    }
    until("the rebuilds", async || {
        let Ok(all) = gesta.projections().await else { return false };
        all.iter().all(|status| match status.name {
            name if REBUILT.contains(&name) => status.old_rows.is_some(),
            name if name == projection => {
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

/// Waits until a state holds.
/// Waits until the payment of [`INSTANCE_TO_RESEND`] is refused. Returns the id of the refused
/// command, which depends on what the process had seen before.
///
/// # Errors
/// [`SampleError`] if it is not refused in time.
pub async fn refused_command(gesta: &Gesta) -> Result<String, SampleError> {
    let find = async || {
        let details = gesta.process_instance(Fulfilment::NAME, INSTANCE_TO_RESEND).await.ok()?;
        Some(details.refused.first()?.id.to_string())
    };
    until("the refused payment", async || find().await.is_some()).await?;
    find().await.ok_or_else(|| SampleError::of("the refused payment")("it is gone"))
}

async fn until(name: &str, holds: impl AsyncFn() -> bool) -> Result<(), SampleError> {
    for _ in 0..POLLS_MAX {
        if holds().await {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    Err(SampleError::of(name)("it does not show in time"))
}
