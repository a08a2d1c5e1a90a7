//! The binary with a certificate.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;

/// A shop that is killed when it is dropped.
struct Shop(Child);

impl Drop for Shop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Writes a certificate that signs itself, with its key, and returns it.
fn issue(directory: &TempDir) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap().pem();
    fs::write(directory.path().join("server.pem"), &certificate).unwrap();
    fs::write(directory.path().join("server.key"), key.serialize_pem()).unwrap();
    CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
}

fn shop(directory: &TempDir, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(["serve", "--store", "memory:", "--listen", "127.0.0.1:0"]).args(options);
    command.current_dir(directory).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Sends a request to a server of this certificate, and returns the response.
fn get(address: &str, path: &str, certificate: &CertificateDer<'static>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_shop_with_a_certificate_serves_https() {
    let directory = TempDir::new().unwrap();
    let certificate = issue(&directory);
    let options = ["--tls-cert", "server.pem", "--tls-key", "server.key"];
    let mut shop = Shop(shop(&directory, &options).spawn().unwrap());
    let lines = BufReader::new(shop.0.stdout.as_mut().unwrap()).lines();
    let mut printed = Vec::new();
    for line in lines.map(Result::unwrap) {
        let is_last = line.starts_with("listening on");
        printed.push(line);
        if is_last {
            break;
        }
    }
    assert!(printed.iter().all(|line| line.contains(" https://")), "{printed:?}");
    let listening = printed.last().and_then(|line| line.strip_prefix("listening on https://"));
    let address = listening.and_then(|rest| rest.split(',').next()).unwrap();
    let answer = get(address, "/health/ready", &certificate);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn half_of_a_certificate_is_refused_and_so_is_one_without_its_key() {
    let directory = TempDir::new().unwrap();
    issue(&directory);
    let other = TempDir::new().unwrap();
    issue(&other);
    let foreign = other.path().join("server.key").display().to_string();
    for (options, reason) in [
        (&["--tls-cert", "server.pem"][..], "--tls-cert and --tls-key belong together"),
        (&["--tls-cert", "no.pem", "--tls-key", "server.key"], "cannot read no.pem"),
        (&["--tls-cert", "server.pem", "--tls-key", &foreign], "cannot be used with this key"),
    ] {
        let outcome = shop(&directory, options).output().unwrap();
        assert_eq!(outcome.status.code(), Some(1), "{options:?}");
        let error = String::from_utf8(outcome.stderr).unwrap();
        assert!(error.contains(reason), "{options:?}: {error}");
    }
}
