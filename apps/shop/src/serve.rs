//! The HTTP server: address, start-up output and shutdown.
//!
//! Invariant: other machines can connect only to a shop with an access file, or with
//! `--allow-remote`.

use std::{
    future::Future,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use gesta_http::{Access, Api, ApiRoute, GestaState, HttpListener, Origin, Tls, TlsFiles};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    access_file,
    store::{OpenShop, Places, close_all},
};

/// Options of the commands that serve HTTP.
#[derive(Args, Debug)]
pub(crate) struct ListenOptions {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000", env = "GESTA_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// File of access, in TOML: bearer tokens, API keys, a trusted proxy. Every request then needs
    /// credentials; without it the shop is open to all, on loopback only
    #[arg(long, value_name = "FILE", env = "GESTA_ACCESS")]
    access: Option<PathBuf>,
    /// Allow an address that other machines can reach although the shop is open to all, such as in
    /// a container whose port is published on loopback
    #[arg(long, env = "GESTA_ALLOW_REMOTE")]
    pub(crate) allow_remote: bool,
    /// Name of the environment, which the console shows; one that begins with `prod` is red
    #[arg(long, value_name = "NAME", env = "GESTA_ENVIRONMENT")]
    environment: Option<String>,
    /// Origin of web pages that may call the API, such as https://shop.example, or `*` for every
    /// origin; may be repeated
    #[arg(long, value_name = "ORIGIN", env = "GESTA_ALLOW_ORIGIN", value_delimiter = ',')]
    allow_origin: Vec<Origin>,
    /// PEM file with the certificate of the shop, followed by those of its authorities. Everything
    /// is encrypted then. A file that replaces it, with its key, is taken up within seconds
    #[arg(long, value_name = "FILE", env = "GESTA_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", env = "GESTA_TLS_KEY")]
    tls_key: Option<PathBuf>,
}

/// A bound address that does not serve yet.
#[derive(Debug)]
pub(crate) struct BoundServer {
    listener: TcpListener,
    tls: Option<Tls>,
    address: SocketAddr,
    allowed_origins: Vec<Origin>,
    access: Option<Access>,
    environment: Option<String>,
}

impl ListenOptions {
    /// Refuses tenants without an access, which says the tenant of a caller.
    pub(crate) fn check_tenants(&self, places: &[Places]) -> Result<()> {
        let has_tenants = places.iter().any(|places| places.tenant.is_some());
        ensure!(
            !has_tenants || self.access.is_some(),
            "--tenant needs --access FILE: the tenant of a caller is that of the credentials",
        );
        Ok(())
    }

    /// Checks what serving would use, and returns it for people. Nothing stays open.
    pub(crate) async fn check(&self) -> Result<String> {
        if let Some(access) = self.read_access()? {
            shop::http::api().check_access(&access)?;
        }
        let wanted = self.listen;
        match TcpListener::bind(wanted).await {
            Ok(_) => {}
            // Perhaps by a server with the same settings.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(address = %wanted, "the address is in use now");
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {wanted}")),
        }
        let how = match &self.access {
            Some(file) => format!("with the access file {}", file.display()),
            None => "open to all".to_owned(),
        };
        let scheme = if self.tls()?.is_some() { "https" } else { "http" };
        Ok(format!("at {scheme}://{wanted}, {how}"))
    }

    fn tls(&self) -> Result<Option<Tls>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles::new(certificate, key).read()?)),
            (None, None) => Ok(None),
            _ => bail!("--tls-cert and --tls-key belong together; give both, or neither"),
        }
    }

    /// Reads the access file, and refuses an address that needs one if there is none.
    fn read_access(&self) -> Result<Option<Access>> {
        let wanted = self.listen;
        // An unspecified address, such as 0.0.0.0, is not a loopback address either.
        ensure!(
            wanted.ip().is_loopback() || self.access.is_some() || self.allow_remote,
            "--listen {wanted} can be reached from other machines, and without --access FILE the \
             shop is open to all of them; use a loopback address or an access file, or \
             --allow-remote if that is intended",
        );
        self.access.as_deref().map(access_file::read).transpose()
    }

    pub(crate) async fn bind(&self) -> Result<BoundServer> {
        let wanted = self.listen;
        let access = self.read_access()?;
        let tls = self.tls()?;
        let listener = TcpListener::bind(wanted).await;
        let listener = listener.with_context(|| format!("cannot listen on {wanted}"))?;
        let allowed_origins = self.allow_origin.clone();
        // With port 0 the system chooses one, and only the listener knows it.
        let (address, environment) = (listener.local_addr()?, self.environment.clone());
        Ok(BoundServer { listener, tls, address, allowed_origins, access, environment })
    }
}

/// Returns the interface of a shop with its GraphQL form.
#[cfg(feature = "graphql")]
fn whole_interface(api: Api) -> gesta_graphql::GraphQl {
    shop::http::graphql(api)
}

/// Returns the interface of a shop, which has no other form in this program.
#[cfg(not(feature = "graphql"))]
fn whole_interface(api: Api) -> Api {
    api
}

/// Returns a listener, which encrypts if there is a certificate.
fn http_listener(listener: TcpListener, tls: Option<Tls>) -> HttpListener {
    let listener = HttpListener::new(listener);
    match tls {
        Some(tls) => listener.tls(tls),
        None => listener,
    }
}

/// Returns a future that is ready when the process receives SIGINT or SIGTERM from now on.
pub(crate) fn interrupted() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut ended = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = ended.recv() => {}
        }
    })
}

impl BoundServer {
    /// Returns the URL of the bound address.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves a shop, with further routes, until the process receives SIGINT or SIGTERM.
    pub(crate) async fn serve(self, shop: OpenShop, further: Vec<ApiRoute>) -> Result<()> {
        // Installed before the address is printed: a script may send the signal right after.
        let interrupted = interrupted()?;
        self.print_addresses()?;
        tracing::info!(address = %self.address, "serving");
        let mut api = shop.api().with("operations", further);
        if let Some(name) = self.environment {
            api = api.environment(name);
        }
        let mut state = GestaState::new(shop.gesta.clone()).allow_origins(self.allowed_origins);
        if let Some(access) = self.access {
            api.check_access(&access)?;
            state = state.access(access);
        }
        let router = whole_interface(api).router(state.clone());
        let listener = http_listener(self.listener, self.tls);
        gesta_http::serve(listener, router, state, interrupted).await?;
        // Requests have ended; now the processes and projections end, and the store closes.
        shop.close().await;
        tracing::info!("closed");
        Ok(())
    }

    /// Serves the shops of tenants, each to the callers of its tenant, until the process receives
    /// SIGINT or SIGTERM.
    pub(crate) async fn serve_tenants(self, shops: Vec<OpenShop>) -> Result<()> {
        let interrupted = interrupted()?;
        self.print_addresses()?;
        tracing::info!(address = %self.address, tenants = shops.len(), "serving");
        let access = self.access.context("tenants need an access")?;
        let mut tenants = shop::http::tenants(access.clone());
        for shop in &shops {
            let mut api = shop.api();
            if let Some(name) = &self.environment {
                api = api.environment(name.clone());
            }
            api.check_access(&access)?;
            let state = GestaState::new(shop.gesta.clone());
            let state = state.allow_origins(self.allowed_origins.iter().cloned());
            tenants = tenants.with(state, |state| whole_interface(api).router(state))?;
        }
        let (router, state) = tenants.build()?;
        let listener = http_listener(self.listener, self.tls);
        gesta_http::serve(listener, router, state, interrupted).await?;
        close_all(shops).await;
        tracing::info!("closed");
        Ok(())
    }

    fn print_addresses(&self) -> io::Result<()> {
        let url = self.url();
        // The line that scripts wait for comes last and is flushed with the others.
        let mut out = io::stdout().lock();
        writeln!(out, "console    {url}/console/")?;
        writeln!(out, "docs       {url}/docs")?;
        writeln!(out, "events     {url}/v1/events")?;
        #[cfg(feature = "graphql")]
        writeln!(out, "graphql    {url}/graphiql")?;
        writeln!(out, "openapi    {url}/openapi.json")?;
        writeln!(out, "listening on {url}, stop with Ctrl-C")?;
        out.flush()
    }
}
