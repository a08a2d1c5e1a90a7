//! Serving with a certificate.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use gesta_http::{HttpListener, Limits, TlsFiles, serve};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{api, state};

const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// A server with its certificate in files.
struct Server {
    address: SocketAddr,
    directory: TempDir,
}

impl Server {
    async fn new(limits: Limits) -> (Self, Authority) {
        let directory = TempDir::new().unwrap();
        let authority = issue(directory.path());
        let [certificate, key] = files(directory.path());
        let tls = TlsFiles::new(certificate, key).look_every(Duration::from_millis(10));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = HttpListener::new(tcp).tls(tls.read().unwrap());
        let state = state().await.limits(limits);
        tokio::spawn(serve(listener, api().router(state.clone()), state, std::future::pending()));
        (Self { address, directory }, authority)
    }

    /// Connects a client that trusts this authority alone.
    async fn connect(&self, authority: &Authority) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Sends a request, and returns the whole response.
    async fn ask(&self, authority: &Authority) -> std::io::Result<String> {
        let mut stream = self.connect(authority).await?;
        stream.write_all(REQUEST).await?;
        let mut said = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut said)).await.unwrap()?;
        Ok(said)
    }
}

/// A certificate that signs itself.
type Authority = CertificateDer<'static>;

fn files(directory: &Path) -> [std::path::PathBuf; 2] {
    ["server.pem", "server.key"].map(|name| directory.join(name))
}

/// Writes a new certificate with its key.
fn issue(directory: &Path) -> Authority {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let [of_certificate, of_key] = files(directory);
    fs::write(of_certificate, certificate.pem()).unwrap();
    fs::write(of_key, key.serialize_pem()).unwrap();
    CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_tls_is_answered() {
    let (server, authority) = Server::new(Limits::DEFAULT).await;
    let said = server.ask(&authority).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_taken_up_and_open_connections_stay() {
    let (server, before) = Server::new(Limits::DEFAULT).await;
    let mut open = server.connect(&before).await.unwrap();
    let after = issue(server.directory.path());
    let taken_up = async {
        while server.ask(&after).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, taken_up).await.expect("the new certificate is served");
    assert!(server.ask(&before).await.is_err(), "the one before is not served any more");
    open.write_all(REQUEST).await.unwrap();
    let mut said = String::new();
    open.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excess_connection_is_told_so_over_tls() {
    let (server, authority) = Server::new(Limits::DEFAULT.connections_max(1)).await;
    let _open = server.connect(&authority).await.unwrap();
    let refused = server.ask(&authority).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_speak_tls_gets_no_answer_of_http() {
    let (server, _) = Server::new(Limits::DEFAULT).await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(REQUEST).await.unwrap();
    let mut said = Vec::new();
    // The connection may be reset, because some of the request is unread.
    let _ = timeout(PATIENCE, plain.read_to_end(&mut said)).await.unwrap();
    assert!(!said.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_given_up() {
    let (server, _) = Server::new(Limits::DEFAULT).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let begun = Instant::now();
    let mut said = Vec::new();
    silent.read_to_end(&mut said).await.unwrap();
    assert_eq!((begun.elapsed().as_secs(), said.len()), (20, 0));
}
