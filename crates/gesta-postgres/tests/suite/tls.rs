//! Encrypted connections, and certificates that are refused.
//!
//! The certificate of the server is for `localhost`, by an authority that is next to it in
//! `tests/certificates`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use gesta_postgres::{InvalidUrl, OpenError, PostgresStore};
use gesta_services::OwnServer;
use gesta_store::{EventStore, StoreError, conformance::block_on};
use tempfile::TempDir;

use crate::server::{TestStore, append_of, texts_of, with_client};

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
}

/// A server that speaks TLS, with the folder of its key.
struct TlsServer {
    server: OwnServer,
    _folder: TempDir,
}

impl TlsServer {
    fn start_or_skip() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["server.crt", "server.key"] {
            let copy = folder.path().join(name);
            fs::copy(certificate(name), &copy).unwrap();
            // The server refuses a key that others may read.
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let file = |name: &str| folder.path().join(name).display().to_string();
        let settings = [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.crt")),
            format!("ssl_key_file={}", file("server.key")),
        ];
        let settings = settings.each_ref().map(String::as_str);
        let server = OwnServer::with_or_skip("postgres", &settings)?;
        Some(Self { server, _folder: folder })
    }

    fn url(&self, host: &str, mode: &str, authority: Option<&str>) -> String {
        let url = self.server.url().replace("127.0.0.1", host);
        let file = authority.map(|name| certificate(name).display().to_string());
        let authority = file.map_or(String::new(), |file| format!("&sslrootcert={file}"));
        format!("{url}?sslmode={mode}{authority}")
    }
}

/// Returns the number of encrypted sessions of stores.
fn encrypted_sessions(server: &str) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
                  WHERE s.ssl AND a.application_name = 'gesta'";
    with_client(server, async |client| client.query_one(count, &[]).await.unwrap().get(0))
}

#[test]
fn connections_are_encrypted_in_every_mode_but_disable() {
    let Some(server) = TlsServer::start_or_skip() else { return };
    let plain = server.server.url();
    let test = TestStore::create(&plain);
    let modes = [
        ("127.0.0.1", "disable", None, false),
        ("127.0.0.1", "prefer", None, true),
        ("127.0.0.1", "require", None, true),
        // The name is not compared, so the address will do.
        ("127.0.0.1", "verify-ca", Some("authority.crt"), true),
        ("localhost", "verify-full", Some("authority.crt"), true),
    ];
    for (nth, (host, mode, authority, is_encrypted)) in modes.into_iter().enumerate() {
        let store = test.open_on(&server.url(host, mode, authority));
        block_on(store.append(append_of("order-1", mode))).unwrap();
        assert_eq!(texts_of(&store, "order-1").len(), nth + 1);
        assert_eq!(encrypted_sessions(&plain) > 0, is_encrypted, "{mode}");
        block_on(store.close()).unwrap();
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_with_the_remedy() {
    let Some(server) = TlsServer::start_or_skip() else { return };
    let refused = [
        ("localhost", "verify-ca", "other-authority.crt"),
        ("localhost", "verify-full", "other-authority.crt"),
        // The certificate does not have this name.
        ("127.0.0.1", "verify-full", "authority.crt"),
    ];
    for (host, mode, authority) in refused {
        let url = server.url(host, mode, Some(authority));
        let error = block_on(PostgresStore::connect(&url)).unwrap_err();
        let OpenError::Server { error: StoreError::Denied { reason }, .. } = &error else {
            panic!("expected `denied` with {mode}, got: {error}");
        };
        assert!(reason.contains("not trusted") && reason.contains("sslrootcert"), "{reason}");
    }
}

#[test]
fn a_server_without_tls_is_refused_where_it_is_required() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let error = block_on(PostgresStore::connect(&format!("{server}?sslmode=require"))).unwrap_err();
    assert!(error.to_string().contains("does not support TLS"), "{error}");
}

#[test]
fn a_file_without_authorities_is_named() {
    let url = |file: &Path| {
        let file = file.display();
        format!("postgres://ann@localhost/shop?sslmode=verify-full&sslrootcert={file}")
    };
    for (file, reason) in [
        (certificate("missing.crt"), "cannot be read"),
        (certificate("server.key"), "has no certificate"),
    ] {
        let error = block_on(PostgresStore::connect(&url(&file))).unwrap_err();
        let OpenError::Url(InvalidUrl::RootCertificates { .. }) = &error else {
            panic!("expected an invalid URL: {error}");
        };
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.to_string().contains(reason) && error.to_string().contains(&name), "{error}");
    }
}
