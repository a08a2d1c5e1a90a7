//! A server with encrypted connections, and users with rights.

use std::fs;

use gesta_services::{OwnServer, free_port};
use gesta_store::{Fingerprint, Incarnation, Revision, Snapshot, SnapshotStore as _, StreamName};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use uuid::Uuid;

use crate::server::{connect, until};

/// A server that speaks TLS beside plain connections, and has the user `ann`. Its certificate is
/// for `localhost`.
struct SecuredServer {
    server: OwnServer,
    folder: TempDir,
    encrypted: u16,
}

impl SecuredServer {
    fn start_or_skip() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap().pem();
        fs::write(file("server.crt"), certificate).unwrap();
        fs::write(file("server.key"), key.serialize_pem()).unwrap();
        // The rights that the guide lists.
        let ann =
            "user ann on >se/cret ~shop:* +@connection +@read +@write +@scripting -@dangerous";
        fs::write(file("users"), format!("user default on nopass ~* &* +@all\n{ann}\n")).unwrap();
        let encrypted = free_port().unwrap();
        let settings = [
            format!("tls-port={encrypted}"),
            format!("tls-cert-file={}", file("server.crt")),
            format!("tls-key-file={}", file("server.key")),
            "tls-auth-clients=no".to_owned(),
            format!("aclfile={}", file("users")),
        ];
        let settings = settings.each_ref().map(String::as_str);
        let server = OwnServer::with_or_skip("redis", &settings)?;
        Some(Self { server, folder, encrypted })
    }

    fn url(&self, login: &str, host: &str, authority: &str) -> String {
        let ca = self.folder.path().join(authority).display().to_string();
        format!("rediss://{login}{host}:{}?prefix=shop&ca={ca}", self.encrypted)
    }
}

fn snapshot(revision: u64) -> Snapshot {
    let (stream, incarnation) =
        (StreamName::new("order-1").unwrap(), Incarnation::new(Uuid::from_u128(7)));
    let fingerprint = Fingerprint::new(1);
    Snapshot::new(stream, Revision::new(revision), incarnation, fingerprint, "{}".into())
}

#[tokio::test]
async fn a_user_with_the_listed_rights_works_over_an_encrypted_connection() {
    let Some(mut server) = SecuredServer::start_or_skip() else { return };
    let redis = connect(&server.url("ann:se%2Fcret@", "localhost", "server.crt")).await;
    assert_eq!(redis.trouble(), None);
    let snapshots = redis.snapshots();
    snapshots.save_snapshot(snapshot(5)).await.unwrap();
    snapshots.save_snapshot(snapshot(3)).await.unwrap();
    let found = snapshots.load_snapshot(&snapshot(5).stream).await.unwrap();
    assert_eq!(found, Some(snapshot(5)), "{:?}", redis.trouble());
    server.server.crash().unwrap();
    assert_eq!(snapshots.load_snapshot(&snapshot(5).stream).await.unwrap(), None);
    server.server.start().unwrap();
    until(async || snapshots.load_snapshot(&snapshot(5).stream).await.unwrap()).await;
}

#[tokio::test]
async fn a_wrong_password_and_a_certificate_that_is_not_trusted_are_named_without_the_password() {
    let Some(server) = SecuredServer::start_or_skip() else { return };
    let trouble = async |url: String| connect(&url).await.trouble().expect("it is refused");
    let wrong = trouble(server.url("ann:wrong-one@", "localhost", "server.crt")).await;
    assert!(
        wrong.contains("rediss://localhost") && wrong.contains("authentication failed"),
        "{wrong}"
    );
    assert!(!wrong.contains("wrong-one"), "{wrong}");

    let other = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let other = parameters.self_signed(&other).unwrap().pem();
    fs::write(server.folder.path().join("other.crt"), other).unwrap();
    let unknown = trouble(server.url("ann:se%2Fcret@", "localhost", "other.crt")).await;
    assert!(unknown.contains("certificate") && !unknown.contains("cret"), "{unknown}");
    let name = trouble(server.url("ann:se%2Fcret@", "127.0.0.1", "server.crt")).await;
    assert!(name.contains("certificate"), "the certificate has another name: {name}");
}
