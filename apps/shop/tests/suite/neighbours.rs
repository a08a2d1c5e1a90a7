//! The prelude together with the imports of axum, clap and the standard library.
//!
//! The imports by `*` collide if two crates have a name that is used here.

use gesta::testing::given;

/// A domain together with the extractors, routes and server-sent events of axum, and clap's
/// commands.
mod beside_axum_and_clap {
    use axum::{extract::*, response::sse::*, routing::*};
    use clap::*;
    use gesta::prelude::*;

    #[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
    #[event(name = "bell-rung")]
    pub(super) struct BellRung;

    #[derive(EventSet, Clone, Debug, PartialEq)]
    pub(super) enum BellEvent {
        Rung(BellRung),
    }

    #[derive(Default)]
    pub(super) struct Bell;

    impl Aggregate for Bell {
        const CATEGORY: &'static str = "bell";
        type Id = u8;
        type Event = BellEvent;

        fn evolve(&mut self, _: &BellEvent) {}
    }

    #[derive(Command, Serialize, Deserialize)]
    #[command(name = "ring-bell", on = Bell, either)]
    pub(super) struct RingBell {
        #[command(id)]
        pub(super) bell: u8,
    }

    impl Decide for RingBell {
        type Rejection = std::convert::Infallible;

        fn decide(&self, _: &Bell) -> Decision<Self> {
            Ok(BellRung.into())
        }
    }

    async fn ring(
        State(gesta): State<Gesta>,
        Path(bell): Path<u8>,
        Query(_): Query<Vec<(String, String)>>,
    ) -> String {
        match gesta.execute(RingBell { bell }).await {
            Ok(receipt) => receipt.position.to_string(),
            Err(error) => error.to_string(),
        }
    }

    pub(super) fn router() -> axum::Router<Gesta> {
        axum::Router::new().route("/bells/{bell}", get(ring))
    }

    pub(super) fn sent() -> Event {
        Event::default().event(BellRung::NAME)
    }

    pub(super) fn program() -> Command {
        Command::new(RingBell::NAME).arg(Arg::new("bell"))
    }
}

/// The derive of commands together with the standard library's processes.
mod beside_std {
    use std::process::Command;

    use gesta::prelude::*;

    #[derive(Command, Serialize, Deserialize)]
    #[command(name = "mute-bell", on = super::beside_axum_and_clap::Bell)]
    pub(super) struct MuteBell {
        #[command(id)]
        pub(super) bell: u8,
    }

    pub(super) fn program() -> Command {
        Command::new(MuteBell { bell: 1 }.bell.to_string())
    }
}

#[test]
fn the_prelude_fits_beside_the_names_of_its_neighbours() {
    use beside_axum_and_clap::{Bell, BellRung, RingBell, program, router, sent};

    given::<Bell>([]).when(RingBell { bell: 1 }).then(BellRung);
    assert!(router().has_routes());
    assert!(format!("{:?}", sent()).contains("bell-rung"));
    assert_eq!(program().get_name(), "ring-bell");
    assert_eq!(beside_std::program().get_program(), "1");
}
