//! The code of `docs/guide/effects-and-calendars.md` that is not the shop's.

use gesta::{
    Begin, EffectContext, EffectError, Reactor,
    calendar::{Calendar, date, time},
    prelude::*,
    testing::drain,
};

#[derive(Event, EventSet, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "contract-signed")]
struct ContractSigned;

#[derive(Default)]
struct Contract;

impl Aggregate for Contract {
    const CATEGORY: &'static str = "contract";
    type Id = u32;
    type Event = ContractSigned;

    fn evolve(&mut self, _: &ContractSigned) {}
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

/// A reactor that counts its effects.
#[derive(Clone, Default)]
struct WelcomeLetter {
    letters: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Reactor for WelcomeLetter {
    const NAME: &'static str = "welcome-letter";
    type Event = ContractSigned;

    async fn react(
        &self,
        event: &Recorded<ContractSigned>,
        _: &EffectContext,
    ) -> Result<(), EffectError> {
        self.letters.lock().unwrap().push(event.stream.as_str().to_owned());
        Ok(())
    }
}

#[tokio::test]
async fn a_reactor_that_begins_now_has_no_effects_of_the_past() {
    let store = crate::bank::new_store();
    let gesta = Gesta::on(store.clone()).open().await.unwrap();
    gesta.execute(SignContract { contract: 1 }).await.unwrap();
    gesta.close().await;
    let letters = WelcomeLetter::default();
    let gesta = Gesta::on(store).react(letters.clone(), Begin::Now).open().await.unwrap();
    gesta.execute(SignContract { contract: 2 }).await.unwrap();
    drain(&gesta).await;
    assert_eq!(*letters.letters.lock().unwrap(), ["contract-2"]);
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Due {
    Payment,
    Reply,
    Bill,
    Salary,
}

#[derive(Clone)]
struct Deadlines {
    calendar: Calendar,
}

impl ProcessManager for Deadlines {
    const NAME: &'static str = "deadlines";
    type Event = ContractSigned;
    type Timer = Due;
    type Commands = (SignContract,);

    fn route(_: &Recorded<ContractSigned>) -> Routing {
        Routing::start(1)
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, input: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        let Input::Event(ContractSigned) = input else { return Effects::none() };
        let calendar = &self.calendar;
        Effects::none()
            .on(calendar.days_later(14).at(time(9, 0, 0, 0)), Due::Payment)
            .on(calendar.working_days_later(3), Due::Reply)
            .on(calendar.monthly(31).at(time(9, 0, 0, 0)), Due::Bill)
            .on(calendar.monthly(31).or_next_working_day(), Due::Salary)
    }
}

#[tokio::test]
async fn rules_of_a_calendar_set_timers() -> Result<(), Box<dyn std::error::Error>> {
    let calendar = Calendar::in_zone("Europe/Berlin")?.with_holidays([date(2026, 12, 25)]);
    let gesta = Gesta::at("memory:").process_with(Deadlines { calendar }).open().await?;
    gesta.execute(SignContract { contract: 1 }).await?;
    drain(&gesta).await;
    assert_eq!(gesta.process_managers()[0].timers, 4);
    Ok(())
}
