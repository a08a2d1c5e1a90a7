//! TLS handshakes that never end, and what comes in their place.

use std::{fs, path::Path, process::Command, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use gesta_services::e2e::{empty_directory, figures};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, task::JoinSet, time::Instant};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::wire::{closed, connect, greeting};
use crate::{
    bystander::Watch,
    client::{Credentials, streams_client::StreamsClient},
    form::{Random, short_or_full},
    gesta::{Gesta, program},
};

const GROWTH_MIB_MAX: u64 = 128;
const HANDSHAKES: (usize, usize) = (200, 2_000);

/// The first bytes of a record that announces a `ClientHello` of 512 bytes.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0];

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_are_given_up() -> Result<()> {
    let handshakes = short_or_full(HANDSHAKES.0, HANDSHAKES.1);
    let directory = empty_directory("server-handshakes")?;
    let (gesta, client) = secured(&directory).await?;
    let watch = Watch::begin_with(&gesta, client).await?;
    let mut random = Random::of_run();
    let noise = random.bytes(300);
    let kinds =
        [Vec::new(), HALF_A_HELLO.to_vec(), greeting(), noise, b"GET / HTTP/1.1\r\n".into()];
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..handshakes {
        let begin = kinds[number % kinds.len()].clone();
        // One after the other: the system drops connections of a burst, and a client that sends
        // nothing does not see it.
        let mut stream = connect(gesta.address, &begin).await?;
        running.spawn(
            async move { closed(&mut stream).await.with_context(|| format!("{begin:02X?}")) },
        );
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let seen = watch.end(gesta).await?.grown_at_most_mib(GROWTH_MIB_MAX)?;
    figures(format!("{handshakes} handshakes given up in {seconds:.0} s; {seen}"))
}

/// Starts a server with TLS and users, and connects its administrator.
async fn secured(directory: &Path) -> Result<(Gesta, crate::client::Client)> {
    let certificates = directory.join("certificates");
    let mut make = Command::new(program()?);
    make.args(["certs", "dev", "--directory"]).arg(&certificates);
    ensure!(make.output()?.status.success(), "no certificates");
    let file = |name: &str| certificates.join(name).display().to_string();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let passwords = file("passwords");
    let options =
        ["--tls-cert", &certificate, "--tls-key", &key, "--admin-password-file", &passwords];
    let gesta = Gesta::start_with(&directory.join("store"), &options)?;
    let passwords = fs::read_to_string(&passwords)?;
    let password = passwords.lines().find_map(|line| line.strip_prefix("admin "));
    let pair = base64::Engine::encode(
        &base64::prelude::BASE64_STANDARD,
        format!("admin:{}", password.context("no password")?),
    );
    let credentials = Credentials(Some(format!("Basic {pair}").parse()?));
    let channel = encrypted(&gesta, &certificates.join("ca.pem")).await?;
    Ok((gesta, StreamsClient::with_interceptor(channel, credentials)))
}

/// A channel over one encrypted connection, which it does not make again.
async fn encrypted(gesta: &Gesta, authority: &Path) -> Result<Channel> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(gesta.address).await?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("connected already"));
        async move { stream.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    Ok(endpoint.connect_with_connector(connector).await?)
}
