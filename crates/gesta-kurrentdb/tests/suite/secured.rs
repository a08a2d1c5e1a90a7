//! A server with TLS and users.

use std::{fs, path::Path, sync::Arc};

use gesta_kurrentdb::{KurrentStore, OpenError};
use gesta_server::{FirstPasswords, Security, Server, Tls};
use gesta_store::{
    Append, EventId, EventStore, EventType, ExpectedRevision, NewEvent, ReadAll, StoreError,
    StreamName, conformance::block_on, memory::MemoryStore,
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

/// A secured server. Dropping it ends the server.
struct Secured {
    port: u16,
    passwords: FirstPasswords,
    directory: TempDir,
    _stop: oneshot::Sender<()>,
    _runtime: Runtime,
}

impl Secured {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        fs::write(directory.path().join("ca.pem"), &certificate).unwrap();
        let tls = Tls::new(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let security = Security::new(tls);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(security.bind("127.0.0.1:0".parse().unwrap())).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server::secure(Arc::new(MemoryStore::new()), security);
        let passwords = FirstPasswords::random();
        runtime.block_on(server.create_first_users(&passwords)).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        runtime.spawn(async move {
            server.run(listener, async { drop(stopped.await) }).await.unwrap();
        });
        Self { port, passwords, directory, _stop: stop, _runtime: runtime }
    }

    fn authority(&self) -> String {
        let file: &Path = &self.directory.path().join("ca.pem");
        file.to_str().unwrap().to_owned()
    }

    fn connect(&self, user: &str, parameters: &str) -> Result<KurrentStore, OpenError> {
        let url = format!("kurrentdb://{user}@localhost:{}?{parameters}", self.port);
        block_on(KurrentStore::connect(&url))
    }
}

fn append(store: &KurrentStore) -> Result<(), StoreError> {
    let event = NewEvent::json(EventId::random(), EventType::new("happened").unwrap(), "{}");
    let stream = StreamName::new("order-1").unwrap();
    block_on(store.append(Append::to(stream, ExpectedRevision::NoStream, [event]))).map(drop)
}

#[test]
fn a_user_of_a_server_with_tls_appends_and_reads() {
    let server = Secured::start();
    let admin = format!("admin:{}", server.passwords.admin());
    let parameters = format!("tlsCaFile={}", server.authority());
    let store = server.connect(&admin, &parameters).unwrap();
    append(&store).unwrap();
    let orders = block_on(store.read_all(ReadAll::forwards()).collect_events()).unwrap();
    assert!(orders.iter().any(|event| event.stream.as_str() == "order-1"));
}

#[test]
fn a_wrong_password_is_denied_without_being_told() {
    let server = Secured::start();
    let parameters = format!("tlsCaFile={}", server.authority());
    // The features of a server are no secret.
    let store = server.connect("admin:wr0ng", &parameters).unwrap();
    let denied = append(&store).unwrap_err();
    assert!(matches!(denied, StoreError::Denied { .. }), "{denied}");
    assert!(!denied.to_string().contains("wr0ng") && !format!("{store:?}").contains("wr0ng"));
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_not_checked() {
    let server = Secured::start();
    let other = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let file = other.path().join("ca.pem");
    fs::write(&file, parameters.self_signed(&key).unwrap().pem()).unwrap();
    let strange = format!("maxDiscoverAttempts=1&tlsCaFile={}", file.to_str().unwrap());
    match server.connect("admin:any", &strange).unwrap_err() {
        OpenError::Server { error, .. } => {
            assert!(error.to_string().contains("TLS with localhost"), "{error}");
        }
        other => panic!("expected an error of the server, got: {other}"),
    }
    server.connect("admin:any", "tlsVerifyCert=false").unwrap();
}

#[test]
fn a_file_without_certificates_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, "no certificate").unwrap();
    let url = format!("kurrentdb://localhost?tlsCaFile={}", file.to_str().unwrap());
    let error = block_on(KurrentStore::connect(&url)).unwrap_err().to_string();
    assert!(error.contains("ca.pem: it must be a PEM file with certificates"), "{error}");
}
