//! A certificate that is replaced while the server runs.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use gesta_server::{Security, Server, TlsFiles};
use gesta_store::memory::MemoryStore;
use tempfile::TempDir;
use tokio::{sync::oneshot, time::timeout};

use crate::secured::{Authority, shake_hands};

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a certificate of this authority, with its key.
fn issue(authority: &Authority, directory: &Path) {
    let (certificate, key) = authority.issue("localhost");
    fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_taken_up_without_a_restart() {
    let directory = TempDir::new().unwrap();
    let (before, after) = (Authority::new(), Authority::new());
    issue(&before, directory.path());
    let [certificate, key] = ["server.pem", "server.key"].map(|name| directory.path().join(name));
    let tls = TlsFiles::new(certificate, key).look_every(Duration::from_millis(10));
    let security = Security::new(tls.read().unwrap());
    let listener = security.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::secure(Arc::new(MemoryStore::new()), security);
    let running = tokio::spawn(server.run(listener, async { drop(stopped.await) }));
    assert!(shake_hands(address, &before).await.is_ok());
    issue(&after, directory.path());
    let taken_up = async {
        while shake_hands(address, &after).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, taken_up).await.expect("the new certificate is served");
    assert!(shake_hands(address, &before).await.is_err(), "the one before is not");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}
