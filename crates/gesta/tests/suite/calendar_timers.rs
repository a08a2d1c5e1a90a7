//! Timers of processes by a calendar: across both changes of summer time, the end of February, and
//! a program that did not run.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use gesta::{
    Clock as _, Effects, Gesta, Input, ProcessManager, Recorded, RecordedAt, Routing,
    calendar::{Calendar, CalendarRule, Date, date, time},
    prelude::*,
    store::{EventStore, memory::MemoryStore},
    testing::{VirtualClock, drain},
};

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "contract-signed")]
struct ContractSigned;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "bill-sent")]
#[serde(rename_all = "camelCase")]
struct BillSent {
    /// Handling time of the timer, in microseconds.
    handled_at: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum ContractEvent {
    Signed(ContractSigned),
    Billed(BillSent),
}

#[derive(Default)]
struct Contract;

impl Aggregate for Contract {
    const CATEGORY: &'static str = "contract";
    type Id = u32;
    type Event = ContractEvent;

    fn evolve(&mut self, _: &ContractEvent) {}
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "sign-contract", on = Contract, either)]
struct SignContract {
    #[command(id)]
    contract: u32,
}

impl Decide for SignContract {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Contract) -> Decision<Self> {
        Ok(ContractSigned.into())
    }
}

#[derive(Command, Serialize, Deserialize, Debug, PartialEq)]
#[command(name = "send-bill", on = Contract)]
struct SendBill {
    #[command(id)]
    contract: u32,
    handled_at: u64,
}

impl Decide for SendBill {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Contract) -> Decision<Self> {
        Ok(BillSent { handled_at: self.handled_at }.into())
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct BillDue;

/// Sends a bill at each time of a rule.
#[derive(Clone)]
struct Billing(CalendarRule);

impl ProcessManager for Billing {
    const NAME: &'static str = "billing";
    type Event = ContractEvent;
    type Timer = BillDue;
    type Commands = (SendBill,);

    fn route(event: &Recorded<ContractEvent>) -> Routing {
        match event.event {
            ContractEvent::Signed(_) => Routing::start(7),
            ContractEvent::Billed(_) => Routing::Ignore,
        }
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, input: &Input<Self>, at: RecordedAt) -> Effects<Self> {
        let next = self.0.clone();
        match input {
            Input::Event(_) => Effects::none().on(next, BillDue),
            Input::Timer(BillDue) => {
                let bill = SendBill { contract: 7, handled_at: at.micros() };
                Effects::none().send(bill).on(next, BillDue)
            }
            Input::Rejected(_) => Effects::none(),
        }
    }
}

fn berlin() -> Calendar {
    Calendar::in_zone("Europe/Berlin").unwrap()
}

/// A contract that was signed at midnight of a date in Berlin, by a virtual clock.
struct Signed {
    store: Arc<MemoryStore>,
    clock: VirtualClock,
    gesta: Gesta,
    rule: CalendarRule,
}

impl Signed {
    async fn on(date: Date, rule: CalendarRule) -> Self {
        let (store, clock) = (Arc::new(MemoryStore::new()), VirtualClock::new());
        let midnight = berlin().time_of(date.at(0, 0, 0, 0));
        let midnight = UNIX_EPOCH + Duration::from_micros(midnight.micros());
        clock.advance(midnight.duration_since(clock.now()).unwrap());
        let gesta = Self::open(&store, &clock, &rule).await;
        gesta.execute(SignContract { contract: 7 }).await.unwrap();
        drain(&gesta).await;
        Self { store, clock, gesta, rule }
    }

    async fn open(store: &Arc<MemoryStore>, clock: &VirtualClock, rule: &CalendarRule) -> Gesta {
        let store: Arc<dyn EventStore> = store.clone();
        let builder = Gesta::on(store).clock(clock.clone());
        builder.process_with(Billing(rule.clone())).open().await.unwrap()
    }

    async fn hours_pass(&self, hours: usize) {
        for _ in 0..hours {
            self.clock.advance(HOUR);
            drain(&self.gesta).await;
        }
    }

    /// The local times at which bills were sent, by the hour.
    async fn bills(&self) -> Vec<String> {
        let all = gesta::store::ReadAll::forwards();
        let events = self.store.read_all(all).collect_events().await.unwrap();
        let bills = events.iter().filter_map(|event| {
            match Recorded::<ContractEvent>::read(event).ok()?.event {
                ContractEvent::Billed(bill) => Some(RecordedAt::from_micros(bill.handled_at)),
                ContractEvent::Signed(_) => None,
            }
        });
        bills.map(|at| berlin().local(at).to_string()).collect()
    }
}

#[tokio::test]
async fn a_daily_timer_fires_an_hour_later_where_the_spring_leaves_its_time_out() {
    let rule = berlin().daily().at(time(2, 0, 0, 0));
    let signed = Signed::on(date(2026, 3, 28), rule).await;
    signed.hours_pass(24 * 3).await;
    let expected = ["2026-03-28T02:00:00", "2026-03-29T03:00:00", "2026-03-30T02:00:00"];
    assert_eq!(signed.bills().await, expected);
}

#[tokio::test]
async fn a_daily_timer_fires_once_where_the_autumn_repeats_its_time() {
    let rule = berlin().daily().at(time(2, 0, 0, 0));
    let signed = Signed::on(date(2026, 10, 24), rule).await;
    signed.hours_pass(24 * 3).await;
    let expected = ["2026-10-24T02:00:00", "2026-10-25T02:00:00", "2026-10-26T02:00:00"];
    assert_eq!(signed.bills().await, expected);
}

#[tokio::test]
async fn a_monthly_timer_fires_on_the_last_day_of_february_and_comes_back_to_the_31st() {
    let rule = berlin().monthly(31).at(time(9, 0, 0, 0));
    let signed = Signed::on(date(2026, 1, 31), rule).await;
    signed.hours_pass(24 * 60).await;
    let expected = ["2026-01-31T09:00:00", "2026-02-28T09:00:00", "2026-03-31T09:00:00"];
    assert_eq!(signed.bills().await, expected);
}

#[tokio::test]
async fn times_that_pass_while_the_program_does_not_run_are_due_one_after_the_other() {
    let rule = berlin().daily().at(time(9, 0, 0, 0));
    let signed = Signed::on(date(2026, 3, 27), rule).await;
    signed.hours_pass(10).await;
    let Signed { store, clock, gesta, rule } = signed;
    gesta.close().await;
    clock.advance(HOUR * 24 * 3);
    let gesta = Signed::open(&store, &clock, &rule).await;
    let signed = Signed { store, clock, gesta, rule };
    drain(&signed.gesta).await;
    let after = "2026-03-30T11:00:00";
    assert_eq!(signed.bills().await, ["2026-03-27T09:00:00", after, after, after]);
    signed.hours_pass(24).await;
    assert_eq!(signed.bills().await.last().unwrap(), "2026-03-31T09:00:00", "in time again");
}

#[tokio::test]
async fn a_pending_timer_keeps_its_time_when_the_rule_changes() {
    let rule = berlin().daily().at(time(9, 0, 0, 0));
    let signed = Signed::on(date(2026, 3, 27), rule).await;
    let Signed { store, clock, gesta, .. } = signed;
    gesta.close().await;
    let rule = berlin().daily().at(time(7, 0, 0, 0));
    let gesta = Signed::open(&store, &clock, &rule).await;
    let signed = Signed { store, clock, gesta, rule };
    signed.hours_pass(48).await;
    assert_eq!(signed.bills().await, ["2026-03-27T09:00:00", "2026-03-28T07:00:00"]);
}

#[tokio::test]
async fn a_timer_of_working_days_leaves_out_weekends_and_holidays() {
    let calendar = berlin().with_holidays([date(2026, 4, 3), date(2026, 4, 6)]);
    let rule = calendar.working_days_later(1).at(time(9, 0, 0, 0));
    let signed = Signed::on(date(2026, 4, 2), rule).await;
    signed.hours_pass(24 * 7).await;
    assert_eq!(signed.bills().await, ["2026-04-07T09:00:00", "2026-04-08T09:00:00"]);
}
