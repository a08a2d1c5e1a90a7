//! `gesta serve` with TLS and users, and `gesta certs`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::scene::{Running, Scene, program, run};

/// A directory with the certificates of `gesta certs dev`.
pub(crate) fn certificates() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let made = run(program(&["certs", "dev", "--directory", path(directory.path())]));
    assert_eq!(made.stdout().lines().count(), 4);
    directory
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Options for these certificates.
fn options(certificates: &Path) -> [String; 6] {
    let file = |name| path(&certificates.join(name)).to_owned();
    [
        "--tls-cert".to_owned(),
        file("server.pem"),
        "--tls-key".to_owned(),
        file("server.key"),
        "--client-ca".to_owned(),
        file("ca.pem"),
    ]
}

pub(crate) fn serve(scene: &Scene, certificates: &Path, more: &[&str]) -> Running {
    serve_by(scene.command(&SERVE), certificates, more)
}

/// Words of a server whose output a test reads.
pub(crate) const SERVE: [&str; 4] = ["serve", "--json", "--listen", "127.0.0.1:0"];

/// The same, by a command that has the store and [`SERVE`].
pub(crate) fn serve_by(mut command: Command, certificates: &Path, more: &[&str]) -> Running {
    command.args(options(certificates)).args(more);
    Running::start(command)
}

/// Asks for a path and returns the status.
pub(crate) fn status(
    address: &str,
    certificates: &Path,
    request: &str,
    identity: Option<&str>,
) -> std::io::Result<u16> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.join("ca.pem")).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(login) => {
            let file = |end| certificates.join(format!("user-{login}.{end}"));
            let certificate = CertificateDer::from_pem_file(file("pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    write!(stream, "GET {request}connection: close\r\n\r\n")?;
    let mut response = [0; 12];
    stream.read_exact(&mut response)?;
    Ok(std::str::from_utf8(&response).unwrap().split(' ').nth(1).unwrap().parse().unwrap())
}

fn metrics(login: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{login}:{password}"));
    format!("/metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {pair}\r\n")
}

#[test]
fn the_first_start_makes_users_whose_passwords_are_in_a_private_file_and_later_starts_do_not() {
    let (scene, certificates) = (Scene::empty(), certificates());
    let certificates = certificates.path();
    let file = certificates.join("passwords");
    let more = ["--admin-password-file", path(&file)];
    let mut server = serve(&scene, certificates, &more);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!(started["secure"], true);
    let address = started["address"].as_str().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let passwords = fs::read_to_string(&file).unwrap();
    let password = |login| {
        passwords.lines().find_map(|line| line.strip_prefix(login)?.strip_prefix(' ')).unwrap()
    };
    for login in ["admin", "ops"] {
        let request = metrics(login, password(login));
        assert_eq!(status(address, certificates, &request, None).unwrap(), 200, "{login}");
    }
    let wrong = metrics("admin", "changeit");
    assert_eq!(status(address, certificates, &wrong, None).unwrap(), 401);
    assert_eq!(server.terminate(), Some(0));

    fs::remove_file(&file).unwrap();
    let server = serve(&scene, certificates, &more);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let address = started["address"].as_str().unwrap();
    let request = metrics("admin", password("admin"));
    assert_eq!(status(address, certificates, &request, None).unwrap(), 200);
    assert!(!file.exists());
}

#[test]
fn a_file_for_first_passwords_is_new_and_its_directory_is_checked_before_the_start() {
    let (scene, certificates) = (Scene::empty(), certificates());
    let file = certificates.path().join("passwords");
    fs::write(&file, "kept").unwrap();
    let serve = |file: &Path, more: &[&str]| {
        let mut command = scene.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(options(certificates.path())).args(more);
        run({
            command.args(["--admin-password-file", path(file)]);
            command
        })
    };
    let existing = serve(&file, &[]);
    existing.fails_with(2, "because the file exists");
    assert!(existing.err.contains("hint: move the file away"), "{existing:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    let nowhere = certificates.path().join("no-such").join("passwords");
    for more in [&["--check-config"][..], &[]] {
        serve(&nowhere, more).fails_with(2, "no-such does not exist");
        serve(certificates.path(), more).fails_with(2, "it is a directory");
    }
    let insecure = ["serve", "--insecure", "--check-config", "--admin-password-file", path(&file)];
    scene.run(&insecure).fails_with(2, "an insecure server has no users");
}

#[test]
fn without_a_file_the_first_passwords_are_printed_once() {
    let (scene, certificates) = (Scene::empty(), certificates());
    let mut server = serve(&scene, certificates.path(), &[]);
    let first: Value = serde_json::from_str(&server.line()).unwrap();
    let password = first["passwords"]["admin"].as_str().unwrap().to_owned();
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let address = started["address"].as_str().unwrap();
    let request = metrics("admin", &password);
    assert_eq!(status(address, certificates.path(), &request, None).unwrap(), 200);
    assert_eq!(server.terminate(), Some(0));
    let server = serve(&scene, certificates.path(), &[]);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    assert!(started["address"].is_string(), "{started}");
}

#[test]
fn a_certificate_of_a_user_lets_its_holder_in() {
    let (scene, certificates) = (Scene::empty(), certificates());
    let certificates = certificates.path();
    for login in ["ops", "nobody"] {
        let made = run(program(&["certs", "user", login, "--directory", path(certificates)]));
        assert_eq!(made.stdout().lines().count(), 2);
    }
    let file = certificates.join("passwords");
    let server = serve(&scene, certificates, &["--admin-password-file", path(&file)]);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let address = started["address"].as_str().unwrap();
    let request = "/metrics HTTP/1.1\r\nhost: localhost\r\n";
    assert_eq!(status(address, certificates, request, Some("ops")).unwrap(), 200);
    assert_eq!(status(address, certificates, request, Some("nobody")).unwrap(), 401);
    assert_eq!(status(address, certificates, request, None).unwrap(), 401);
}

#[test]
fn certificates_are_not_overwritten_and_keys_are_private() {
    let certificates = certificates();
    let directory = path(certificates.path());
    for key in ["ca.key", "server.key"] {
        let mode = fs::metadata(certificates.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let before = fs::read(certificates.path().join("ca.pem")).unwrap();
    let again = run(program(&["certs", "dev", "--directory", directory]));
    again.fails_with(2, "exists");
    assert_eq!(fs::read(certificates.path().join("ca.pem")).unwrap(), before);
    run(program(&["certs", "user", "../x", "--directory", directory])).fails_with(2, "login");
}

#[test]
fn a_configuration_is_checked_without_a_server() {
    let (scene, certificates) = (Scene::of_two_orders(), certificates());
    let mut check =
        scene.command(&["serve", "--json", "--check-config", "--listen", "0.0.0.0:2109"]);
    check.args(options(certificates.path()));
    let [checked] = run(check).objects().try_into().unwrap();
    assert_eq!(checked["listen"], "0.0.0.0:2109");
    assert_eq!(checked["users"], true);
    assert_eq!(checked["tokens"], false);
    assert_eq!(
        (&checked["storeState"], &checked["maxConnections"]),
        (&"exists".into(), &10_000.into())
    );
    assert!(checked["tlsCert"].as_str().unwrap().ends_with("server.pem"), "{checked}");

    let empty = Scene::empty();
    let passwords = certificates.path().join("passwords");
    let check = || {
        let mut check = empty.command(&["serve", "--check-config", "--listen", "127.0.0.1:0"]);
        check.args(options(certificates.path())).args(["--admin-password-file", path(&passwords)]);
        run(check)
    };
    let printed = check();
    for line in ["the first start creates it", "at most 10000", "server.key", path(&passwords)] {
        assert!(printed.stdout().contains(line), "{printed:?}");
    }
    fs::write(&passwords, "kept").unwrap();
    check().fails_with(2, "because the file exists");

    let [certificate, file, ..] = options(certificates.path());
    let half = scene.run(&["serve", "--check-config", &certificate, &file]);
    half.fails_with(2, "a certificate and its key");
    let both = scene.run(&["serve", "--check-config", "--insecure", &certificate, &file]);
    both.fails_with(2, "an insecure server uses no certificates");
    let endless = ["serve", "--check-config", "--tls-cert", "/dev/zero", "--tls-key", "/dev/zero"];
    scene.run(&endless).fails_with(2, "more than 1 MiB");
    let missing = ["--tls-cert", "no-such.pem", "--tls-key", "no-such.key"];
    let mut missing_files = vec!["serve", "--check-config"];
    missing_files.extend(missing);
    scene.run(&missing_files).fails_with(2, "no-such.pem");
}

#[test]
fn a_file_has_settings_that_options_and_variables_override() {
    let (scene, certificates) = (Scene::of_two_orders(), certificates());
    let file = certificates.path().join("serve.toml");
    let text = "store = \"memory:\"\nlisten = \"127.0.0.1:2101\"\ninsecure = true\n";
    fs::write(&file, text).unwrap();
    let check = |more: &[&str], variable: Option<(&str, &str)>| {
        let mut command = program(&["serve", "--json", "--check-config", "--config", path(&file)]);
        command.args(more).envs(variable);
        run(command).objects().remove(0)
    };
    let of_file = check(&[], None);
    assert_eq!(
        (&of_file["store"], &of_file["listen"]),
        (&"memory:".into(), &"127.0.0.1:2101".into())
    );
    let of_variable = check(&[], Some(("GESTA_LISTEN", "127.0.0.1:2102")));
    assert_eq!(of_variable["listen"], "127.0.0.1:2102");
    let of_option =
        check(&["--listen", "127.0.0.1:2103"], Some(("GESTA_LISTEN", "127.0.0.1:2102")));
    assert_eq!(of_option["listen"], "127.0.0.1:2103");
    fs::write(&file, "store = \"memory:\"\nmax-connections = 0\n").unwrap();
    let wrong = scene.run(&["serve", "--check-config", "--config", path(&file)]);
    wrong.fails_with(2, "serve.toml: the setting `max-connections` is wrong");
    fs::write(&file, "lisen = \"127.0.0.1:2101\"\n").unwrap();
    let wrong = scene.run(&["serve", "--check-config", "--config", path(&file)]);
    wrong.fails_with(2, "there is no setting `lisen`; the nearest is `listen`");
}

#[test]
fn the_settings_in_force_are_printed_with_their_sources_and_without_passwords() {
    let scene = Scene::empty();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("serve.toml");
    let text = "store = \"postgres://ann:secret@db/events\"\nmax-connections = 7\n\
                insecure = true\nlog = \"warn\"\n";
    fs::write(&file, text).unwrap();
    let print = |more: &[&str]| {
        let mut command = scene.command(&["serve", "--config", path(&file), "--print-config"]);
        command.args(more).env_remove("GESTA_STORE").env("GESTA_LOG", "info");
        run(command)
    };
    let printed = print(&["--drain-seconds", "3"]);
    let source = path(&file);
    for line in [
        format!("store = \"postgres://ann:…@db/events\"  # {source}"),
        format!("max-connections = 7  # {source}"),
        format!("insecure = true  # {source}"),
        "log = \"info\"  # environment GESTA_LOG".to_owned(),
        "drain-seconds = 3  # option --drain-seconds".to_owned(),
        "listen = \"127.0.0.1:2113\"  # default".to_owned(),
        "# tls-cert is not set".to_owned(),
    ] {
        assert!(printed.stdout().lines().any(|it| it == line), "{line}: {printed:?}");
    }
    assert!(!printed.stdout().contains("secret"), "{printed:?}");
    let objects = print(&["--json"]).objects();
    let is_this = |it: &&Value| it["name"] == "max-connections";
    let setting = objects.iter().find(is_this).unwrap();
    assert_eq!((&setting["value"], &setting["source"]), (&"7".into(), &source.into()));
    // The store need not be given.
    let bare = run(program(&["serve", "--print-config"]));
    assert!(bare.stdout().contains("# store is not set"), "{bare:?}");
}
