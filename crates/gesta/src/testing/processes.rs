//! Assertions on stored processes under a changed definition.

use gesta_store::EventStore;

use crate::{ProcessManager, ProcessSetup, stored_processes};

/// Asserts that a definition understands every stored instance of its manager. Run it before
/// deploying a changed definition, on a copy of the store or one kept for tests.
///
/// ```
/// use gesta::{ProcessSetup, store::memory::MemoryStore, testing::assert_processes_understood};
/// # use gesta::prelude::*;
/// # #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # #[event(name = "door-opened")]
/// # struct DoorOpened;
/// # #[derive(EventSet, Clone, Debug, PartialEq)]
/// # enum DoorEvent {
/// #     Opened(DoorOpened),
/// # }
/// # #[derive(Default)]
/// # struct Door;
/// # impl Aggregate for Door {
/// #     const CATEGORY: &'static str = "door";
/// #     type Id = u32;
/// #     type Event = DoorEvent;
/// #     fn evolve(&mut self, _: &DoorEvent) {}
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[command(name = "close-door", on = Door)]
/// # struct CloseDoor {
/// #     #[command(id)]
/// #     door: u32,
/// # }
/// # impl Decide for CloseDoor {
/// #     type Rejection = std::convert::Infallible;
/// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(Events::none()) }
/// # }
/// # #[derive(Clone, Default)]
/// # struct Porter;
/// # impl ProcessManager for Porter {
/// #     const NAME: &'static str = "porter";
/// #     type Event = DoorEvent;
/// #     type Timer = ();
/// #     type Commands = (CloseDoor,);
/// #     fn route(_: &Recorded<DoorEvent>) -> Routing { Routing::Ignore }
/// #     fn evolve(&mut self, _: &Input<Self>) {}
/// #     fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> { Effects::none() }
/// # }
///
/// # gesta::store::conformance::block_on(async {
/// let store = MemoryStore::new(); // or gesta::open("gesta:DIR").await?
/// assert_processes_understood(&ProcessSetup::of(Porter), &store).await;
/// # });
/// ```
///
/// # Panics
/// If the store cannot be read, or with each instance that is not understood and the reason.
#[track_caller]
pub fn assert_processes_understood<'a, P: ProcessManager>(
    setup: &'a ProcessSetup<P>,
    store: &'a dyn EventStore,
) -> impl Future<Output = ()> + Send + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let found = stored_processes(setup, store).await.expect("the store can be read");
        let lines = found.iter().map(|it| format!("{}: {}", it.stream, it.reasons.join("; ")));
        let lines: Vec<_> = lines.collect();
        assert!(
            lines.is_empty(),
            "process {} does not understand these stored instances (at {caller}):\n{}",
            P::NAME,
            lines.join("\n"),
        );
    }
}
