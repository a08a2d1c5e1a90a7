//! A server behind TLS: the tests' own, in front of the real one, as many installations have it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use gesta_search::{Document, OpenError, Search, SearchStore};
use gesta_services::url_or_skip;
use gesta_store::{Position, ReadModelStore as _};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, crypto::ring::default_provider, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use crate::engines::{self, create, write};

/// Takes encrypted connections and passes their bytes to a server. Its certificate is for
/// `localhost`.
struct TlsFront {
    port: u16,
    folder: TempDir,
    _runtime: Runtime,
}

impl TlsFront {
    fn start(server: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust the certificate ends the connection.
                    let mut client = acceptor.accept(connection).await?;
                    let mut server = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { port, folder, _runtime: runtime }
    }

    fn url(&self, host: &str, ca: &str) -> String {
        let (port, ca) = (self.port, self.folder.path().join(ca).display().to_string());
        let prefix = format!("t{}", Uuid::new_v4().simple());
        format!("opensearch+https://ann:secret@{host}:{port}/{prefix}?ca={ca}")
    }
}

#[test]
fn documents_are_written_and_found_over_an_encrypted_connection() {
    let Some(server) = url_or_skip("opensearch") else { return };
    let front = TlsFront::start(server.strip_prefix("opensearch://").unwrap().parse().unwrap());
    engines::run(async {
        let store = SearchStore::open(&front.url("localhost", "ca.pem")).await?;
        let id = create(&store).await?;
        let document = Document::new("1").text("name", "lantern");
        write(&store, &id, |tx| Ok(tx.put(document, Position::new(7))?)).await?;
        let found = store.reader(&id).await?.search(&Search::new().text("lantern")).await?;
        assert_eq!(found.total, 1);
        Ok(())
    });
}

/// No server is needed: the certificate is refused before anything is passed on.
#[test]
fn a_certificate_that_is_not_trusted_is_refused_without_the_password_in_the_error() {
    let front = TlsFront::start((Ipv4Addr::LOCALHOST, 9).into());
    let other = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let other = parameters.self_signed(&other).unwrap().pem();
    fs::write(front.folder.path().join("other.pem"), other).unwrap();
    // The second one has another name than the certificate.
    for (host, ca) in [("localhost", "other.pem"), ("127.0.0.1", "ca.pem")] {
        let url = front.url(host, ca);
        let opened = engines::run(async { Ok(SearchStore::open(&url).await.unwrap_err()) });
        let error = opened.to_string();
        assert!(error.contains("invalid peer certificate") && !error.contains("secret"), "{error}");
    }
    let url = front.url("localhost", "missing.pem");
    let opened = engines::run(async { Ok(SearchStore::open(&url).await.unwrap_err()) });
    assert!(matches!(opened, OpenError::Url(_)), "{opened}");
    assert!(opened.to_string().contains("missing.pem"), "{opened}");
}
