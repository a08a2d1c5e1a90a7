//! `gesta serve`: serves a store to KurrentDB clients until it is told to stop.
//!
//! Owns: the composition of store and server. Invariants: nothing is opened before the arguments
//! are known to be allowed; the store is closed after the last call has ended.

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use clap::Args;
use gesta_server::{InvalidListener, Server};
use serde_json::json;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use crate::{
    exit::{Outcome, Refusal},
    output::{Output, Style, notice},
    store_url::{ServedStore, StoreUrl},
};

const HINT: &str = "\
Examples:
  gesta serve --store gesta:./things --insecure
  gesta serve --store memory: --insecure --listen 127.0.0.1:2114

Clients connect with esdb://127.0.0.1:2113?tls=false or kurrentdb://127.0.0.1:2113?tls=false. \
GET /health/ready, /stats and /metrics answer on the same port.";

/// Serve the store to KurrentDB and EventStoreDB clients
///
/// gRPC and HTTP on one port. Needs exclusive access to a store in a directory, and creates one if
/// the directory is empty. An interrupt or a termination signal ends subscriptions at once, lets
/// other calls finish, and closes the store.
#[derive(Args, Debug)]
#[command(after_help = HINT)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2113", env = "GESTA_LISTEN")]
    listen: SocketAddr,
    /// Serve without TLS and users, on loopback only. Every process of this machine may read,
    /// append and delete
    #[arg(long)]
    insecure: bool,
}

impl Serve {
    pub(crate) fn run(self, store: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        if !self.insecure {
            let message = "this version serves without TLS and users only";
            let hint = "add --insecure to serve the processes of this machine";
            return Err(Refusal::usage("insecure", message).hint(hint).into());
        }
        let runtime = Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("cannot start the threads of the server")?;
        runtime.block_on(self.serve(store, output))
    }

    async fn serve(self, url: &StoreUrl, output: &mut Output) -> Result<Outcome> {
        let stop = stop_signal().context("cannot wait for signals")?;
        let listener = match Server::bind_loopback(self.listen).await {
            Ok(listener) => listener,
            Err(error @ InvalidListener::Public { .. }) => {
                return Err(Refusal::usage("public-listener", error.to_string()).into());
            }
            Err(error) => return Err(error.into()),
        };
        let address = listener.local_addr().context("cannot tell the address of the listener")?;
        let opened = url.clone();
        // Opening blocks, and a store's own threads run without this runtime.
        let ServedStore { store, leases } =
            tokio::task::spawn_blocking(move || opened.open_to_serve()).await??;
        match output.style() {
            Style::Text => output.line(format_args!("serving {url} at http://{address}"))?,
            Style::Json => output.json(&json!({
                "store": url.to_string(),
                "address": address.to_string(),
            }))?,
        }
        output.flush()?;
        let server = Server::insecure(Arc::clone(&store));
        let server = match leases {
            Some(leases) => server.sharing(leases),
            None => server,
        };
        let served = server.run(listener, stop).await;
        if output.style() == Style::Text {
            notice("closing the store");
        }
        let closed = store.close().await;
        served?;
        closed?;
        Ok(Outcome::Done)
    }
}

/// Waits for an interrupt or a termination signal.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
