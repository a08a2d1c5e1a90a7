//! Serving the shop: where it listens, what it prints about that, how it ends.
//!
//! Always holds: nobody beyond this machine is served unless that was asked for, because the shop
//! does not ask anybody who they are.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use gesta::Gesta;
use gesta_http::{GestaState, Origin};
use shop::http;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Where to listen.
#[derive(Args, Debug)]
pub(crate) struct Listen {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Serves other machines, too: whoever reaches the address may do everything.
    #[arg(long)]
    allow_remote: bool,
    /// Lets web pages of this origin, such as https://shop.example, use the interface; `*` is every
    /// origin. May be given several times.
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<Origin>,
}

/// A place that is listened at, where nobody is served yet.
#[derive(Debug)]
pub(crate) struct Counter {
    listener: TcpListener,
    address: SocketAddr,
    allowed_origins: Vec<Origin>,
}

impl Listen {
    /// Takes the address, so that one that is taken is told before anything else is done.
    pub(crate) async fn open(&self) -> Result<Counter> {
        let wanted = self.listen;
        ensure!(
            wanted.ip().is_loopback() || self.allow_remote,
            "{wanted} can be reached from other machines, and the shop asks nobody who they are; \
             say --allow-remote if that is meant",
        );
        let listener = TcpListener::bind(wanted).await;
        let listener = listener.with_context(|| format!("cannot listen on {wanted}"))?;
        let allowed_origins = self.allow_origin.clone();
        Ok(Counter { address: listener.local_addr()?, listener, allowed_origins })
    }
}

impl Counter {
    /// Serves a shop until the program is interrupted or told to end.
    pub(crate) async fn serve(self, shop: Gesta) -> Result<()> {
        // Listened for before the address is told: whoever reads it may end the program at once.
        let mut ended = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        self.tell()?;
        tracing::info!(address = %self.address, "serving");
        let state = GestaState::new(shop.clone()).allow_origins(self.allowed_origins);
        gesta_http::serve(self.listener, http::api(), state, async move {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = ended.recv() => {}
            }
        })
        .await?;
        shop.close().await;
        tracing::info!("closed");
        Ok(())
    }

    fn tell(&self) -> io::Result<()> {
        let address = self.address;
        let mut out = io::stdout().lock();
        writeln!(out, "try it     http://{address}/docs")?;
        writeln!(out, "events     http://{address}/v1/events")?;
        writeln!(out, "interface  http://{address}/openapi.json")?;
        writeln!(out, "listening on http://{address}, until Ctrl-C")?;
        out.flush()
    }
}
