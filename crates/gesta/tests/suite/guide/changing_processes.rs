//! The code of `docs/guide/changing-processes.md`.

use std::{sync::Arc, time::Duration};

use gesta::{
    NotUnderstood, ProcessSetup, Registry, TimerVersions,
    prelude::*,
    store::{EventStore, memory::MemoryStore},
    testing::{VirtualClock, assert_events_locked, assert_processes_understood, drain},
};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

#[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "invoice-sent")]
struct InvoiceSent {
    invoice: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "reminder-sent")]
struct ReminderSent {
    reminder: u32,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum InvoiceEvent {
    Sent(InvoiceSent),
    Reminded(ReminderSent),
}

#[derive(Default)]
struct Invoice {
    reminders: Vec<u32>,
}

impl Aggregate for Invoice {
    const CATEGORY: &'static str = "invoice";
    type Id = String;
    type Event = InvoiceEvent;

    fn evolve(&mut self, event: &InvoiceEvent) {
        if let InvoiceEvent::Reminded(reminded) = event {
            self.reminders.push(reminded.reminder);
        }
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "send-invoice", on = Invoice, new)]
struct SendInvoice {
    #[command(id)]
    invoice: String,
}

impl Decide for SendInvoice {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Invoice) -> Decision<Self> {
        Ok(InvoiceSent { invoice: self.invoice.clone() }.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "send-reminder", on = Invoice)]
struct SendReminder {
    #[command(id)]
    invoice: String,
    reminder: u32,
}

impl Decide for SendReminder {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Invoice) -> Decision<Self> {
        Ok(ReminderSent { reminder: self.reminder }.into())
    }
}

/// The program as it was deployed first.
mod deployed {
    use super::*;

    #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
    pub(super) struct ReminderDue;

    #[derive(Clone, Default)]
    pub(super) struct Dunning {
        invoice: String,
    }

    impl ProcessManager for Dunning {
        const NAME: &'static str = "dunning";
        type Event = InvoiceSent;
        type Timer = ReminderDue;
        type Commands = (SendReminder,);

        fn route(event: &Recorded<InvoiceSent>) -> Routing {
            Routing::start(&event.event.invoice)
        }

        fn evolve(&mut self, input: &Input<Self>) {
            if let Input::Event(sent) = input {
                self.invoice = sent.invoice.clone();
            }
        }

        fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
            let invoice = self.invoice.clone();
            match input {
                Input::Event(_) => Effects::none().after(WEEK, ReminderDue),
                Input::Timer(ReminderDue) => {
                    Effects::none().send(SendReminder { invoice, reminder: 1 }).end()
                }
                Input::Rejected(_) => Effects::none().end(),
            }
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Due {
    reminder: u32,
}

impl From<deployed::ReminderDue> for Due {
    fn from(_: deployed::ReminderDue) -> Self {
        Self { reminder: 1 }
    }
}

#[derive(Clone, Default)]
struct Dunning {
    invoice: String,
}

impl ProcessManager for Dunning {
    const NAME: &'static str = "dunning";
    type Event = InvoiceSent;
    type Timer = Due;
    type Commands = (SendReminder,);
    const NOT_UNDERSTOOD: NotUnderstood = NotUnderstood::SetAside; // the default

    fn timers() -> TimerVersions<Due> {
        TimerVersions::new().after::<deployed::ReminderDue>()
    }

    fn route(event: &Recorded<InvoiceSent>) -> Routing {
        Routing::start(&event.event.invoice)
    }

    fn evolve(&mut self, input: &Input<Self>) {
        if let Input::Event(sent) = input {
            self.invoice = sent.invoice.clone();
        }
    }

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let invoice = self.invoice.clone();
        match input {
            Input::Event(_) => Effects::none().after(WEEK, Due { reminder: 1 }),
            Input::Timer(Due { reminder: 3 }) => {
                Effects::none().send(SendReminder { invoice, reminder: 3 }).end()
            }
            Input::Timer(Due { reminder }) => {
                let next = Due { reminder: reminder + 1 };
                Effects::none()
                    .send(SendReminder { invoice, reminder: *reminder })
                    .after(WEEK, next)
            }
            Input::Rejected(_) => Effects::none().end(),
        }
    }
}

/// A store that the deployed program has left, with a timer that waits.
async fn store_of_the_deployed_program(clock: &VirtualClock) -> Arc<dyn EventStore> {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let gesta = Gesta::on(Arc::clone(&store)).clock(clock.clone());
    let gesta = gesta.process::<deployed::Dunning>().open().await.unwrap();
    gesta.execute(SendInvoice { invoice: "7".into() }).await.unwrap();
    drain(&gesta).await;
    gesta.close().await;
    store
}

#[tokio::test]
async fn the_new_definition_understands_what_is_stored() {
    let store = store_of_the_deployed_program(&VirtualClock::new()).await;
    assert_processes_understood(&ProcessSetup::of(Dunning::default()), store.as_ref()).await;
}

#[tokio::test]
async fn a_timer_of_the_deployed_program_begins_the_new_reminders() {
    let clock = VirtualClock::new();
    let store = store_of_the_deployed_program(&clock).await;
    let gesta = Gesta::on(store).clock(clock.clone()).process::<Dunning>().open().await.unwrap();
    for _ in 0..4 {
        // The recorded times of the store are those of the system.
        clock.advance(Duration::from_secs(3_600 * 24 * 365 * 100));
        drain(&gesta).await;
    }
    let invoice = gesta.load::<Invoice>(&"7".to_owned()).await.unwrap().unwrap();
    assert_eq!(invoice.state.reminders, [1, 2, 3]);
}

#[test]
fn the_stored_types_of_processes_are_locked() {
    let registry = Registry::of::<InvoiceEvent>().process::<Dunning>();
    assert_events_locked("tests/invoices.lock", &registry);
}

/// The manager under its next name.
#[derive(Clone, Default)]
struct Reminders;

impl ProcessManager for Reminders {
    const NAME: &'static str = "reminders";
    type Event = InvoiceSent;
    type Timer = Due;
    type Commands = (SendReminder,);

    fn timers() -> TimerVersions<Due> {
        TimerVersions::new().after::<deployed::ReminderDue>()
    }

    fn route(event: &Recorded<InvoiceSent>) -> Routing {
        Routing::start(&event.event.invoice)
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        Effects::none()
    }
}

#[tokio::test]
async fn a_renamed_manager_takes_over_what_is_stored() {
    let clock = VirtualClock::new();
    let store = store_of_the_deployed_program(&clock).await;
    let setup = ProcessSetup::of(Reminders).formerly("dunning");
    let gesta = Gesta::on(store).clock(clock).process_set_up(setup).open().await.unwrap();
    drain(&gesta).await;
    assert_eq!(gesta.process_managers()[0].name, "reminders");
    assert_eq!(gesta.process_managers()[0].timers, 1);
}
