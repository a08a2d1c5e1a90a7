//! The web console of an application: its routes, and its screens and acts in a real browser.

mod acts;
mod aggregates;
mod routes;
mod screens;
mod stored;

use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use gesta::{Gesta, Registry, Role};
use gesta_http::{Access, Api, GestaState, serve};
use gesta_services::chromium::Page;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    Door, DoorEvent, OpenDoor, api,
    metrics::faults::{self, Faults, Switches},
};

/// Returns the doors with a console.
fn with_console() -> Api {
    api().console("/v1", Registry::of::<DoorEvent>()).aggregate::<Door>()
}

/// An application whose parts fail on demand, with its console, on a real socket. Dropping it ends
/// the server.
struct Operated {
    gesta: Gesta,
    faults: Faults,
    address: String,
    _end: oneshot::Sender<()>,
}

impl Operated {
    async fn open() -> Self {
        Self::with(None).await
    }

    async fn with(access: Option<Access>) -> Self {
        let faults = Faults::default();
        let gesta = faults::open(&faults, Role::All).await;
        let state = GestaState::new(gesta.clone());
        let state = match access {
            Some(access) => state.access(access),
            None => state,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (end, ended) = oneshot::channel::<()>();
        let until = async { ended.await.unwrap_or_default() };
        let router: Router = with_console().environment("staging").router(state.clone());
        tokio::spawn(serve(listener, router, state, until));
        Self { gesta, faults, address, _end: end }
    }

    /// Opens a page, or says that there is no browser.
    async fn page(&self) -> Option<Page> {
        Page::open(&self.address).await
    }

    async fn open_door(&self, door: u8) {
        self.gesta.execute(OpenDoor { door }).await.unwrap();
    }

    fn set(&self, switch: impl Fn(&Switches) -> &AtomicBool, value: bool) {
        switch(&self.faults).store(value, Ordering::SeqCst);
    }
}
