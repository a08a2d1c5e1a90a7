//! The binary: output and exit codes.

mod settings;
mod tenants;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Output, Stdio},
    time::Duration,
};

use gesta::postgres::tokio_postgres::{self, Client, NoTls};
use tempfile::TempDir;

use crate::{http::mug, strategies::program::Program};

const TABLE: &str =
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,mug,Mug,2,2011-01-04T10:00:00Z,2.50,17850,France
1,jug,Jug,many,2011-01-04T10:00:00Z,5,17850,France
2,mug,Mug,1,2011-01-05T10:00:00Z
C3,mug,Mug,-1,2011-01-06T10:00:00Z,2.50,17850,France
";

fn shop(directory: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.current_dir(directory).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn invalid_rows_are_reported_with_line_and_reason_and_the_others_are_imported() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("table.csv"), TABLE).unwrap();
    let outcome = shop(&directory, &["import", "table.csv"]);
    assert_eq!(outcome.status.code(), Some(1));
    let problems: Vec<_> = text(&outcome.stderr).lines().collect();
    assert_eq!(problems.len(), 2, "no progress in a pipe, and nothing else: {problems:?}");
    assert!(problems[0].starts_with("line 3: Quantity: "), "{problems:?}");
    assert!(problems[1].starts_with("line 4: UnitPrice: is missing"), "{problems:?}");

    let report = shop(&directory, &["report", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["orders"], &report["net_revenue"]), (&1.into(), &"2.5".into()));
}

#[cfg(not(feature = "everything"))]
#[test]
fn a_demo_with_parts_that_were_not_built_in_is_refused_with_the_build_that_has_them() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["demo", "--everything"]);
    assert_eq!(outcome.status.code(), Some(1));
    let error = text(&outcome.stderr);
    assert!(error.contains("cargo build --release -p shop --features everything"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_report_of_a_store_that_is_not_there_is_refused_and_creates_none() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["report", "--store", "gesta:./typo"]);
    assert_eq!(outcome.status.code(), Some(1));
    let error = text(&outcome.stderr);
    assert!(error.contains("no store at gesta:./typo; check --store"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

fn with_client<T>(server: &str, work: impl AsyncFnOnce(Client) -> T) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (client, connection) = tokio_postgres::connect(server, NoTls).await.unwrap();
        tokio::spawn(connection);
        work(client).await
    })
}

fn execute(server: &str, statement: &str) {
    with_client(server, async |client| client.batch_execute(statement).await.unwrap());
}

/// The schemas of a database whose names begin with this one.
fn schemas(server: &str, name: &str) -> Vec<String> {
    with_client(server, async |client| {
        let text = "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, $1)";
        let rows = client.query(text, &[&name]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    })
}

#[test]
fn a_report_of_a_schema_that_is_not_there_is_refused_and_creates_none() {
    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let directory = TempDir::new().unwrap();
    let schema = format!("shop_test_{}", uuid::Uuid::new_v4().simple());
    let separator = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{separator}schema={schema}");
    for more in [&[][..], &["--read-models", "memory:"]] {
        let outcome = shop(&directory, &[&["report", "--store", &url], more].concat());
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        let error = text(&outcome.stderr);
        assert!(error.contains("no store at postgres://"), "{error}");
        assert!(error.contains(&schema) && error.contains("; check --store"), "{error}");
        assert_eq!(schemas(&server, &schema), [""; 0]);
    }
}

#[test]
fn a_node_that_takes_no_leases_does_not_start_beside_nodes_with_leases() {
    use gesta::{
        postgres::PostgresStore,
        store::{AcquireLease, EventStore as _, LeaseName, Leases as _, NodeName},
    };

    let Some(server) = gesta_services::url_or_skip("postgres") else { return };
    let directory = TempDir::new().unwrap();
    let schema = format!("shop_test_{}", uuid::Uuid::new_v4().simple());
    let separator = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{separator}schema={schema}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = PostgresStore::connect(&url).await.unwrap();
        let (name, node) = (LeaseName::new("node:1").unwrap(), NodeName::new("shop 7").unwrap());
        let acquire = AcquireLease::new(name, node, Duration::from_secs(600));
        store.acquire(acquire).await.unwrap();
        store.close().await.unwrap();
    });
    let serve = ["serve", "--listen", "127.0.0.1:0", "--store", &url, "--read-models", "sqlite:m"];
    let outcome = shop(&directory, &serve);
    execute(&server, &format!("DROP SCHEMA {schema} CASCADE"));
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let error = text(&outcome.stderr);
    assert!(error.contains("node `shop 7` works on this store"), "{error}");
    assert!(error.contains("leave --read-models out"), "{error}");
    assert!(!directory.path().join("m").exists(), "nothing was made");
}

#[test]
fn the_demo_imports_the_sample_prints_its_report_and_serves_until_it_is_interrupted() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(["demo", "--store", "memory:", "--listen", "127.0.0.1:0"]);
    let mut demo = command.current_dir(&directory).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    let address = loop {
        let line = lines.next().expect("it says where it listens").unwrap();
        if let Some((address, _)) =
            line.strip_prefix("listening on http://").and_then(|it| it.split_once(','))
        {
            break address.to_owned();
        }
        printed.push_str(&line);
    };
    assert!(printed.contains("gross revenue") && printed.contains("United Kingdom"), "{printed}");
    assert!(get(&address, "/health/ready").starts_with("HTTP/1.1 200 OK"));
    assert!(get(&address, "/v1/orders").contains("\"items\":[{"));
    Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(demo.wait().unwrap().success());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "memory: leaves nothing");
}

/// Serves and interrupts a shop; returns its standard error.
fn log_of_a_served_shop(levels: &str) -> String {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(["serve", "--store", "memory:", "--listen", "127.0.0.1:0"]);
    command.env("RUST_LOG", levels).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut served = command.current_dir(&directory).spawn().unwrap();
    let lines = BufReader::new(served.stdout.as_mut().unwrap()).lines();
    let listening = lines.map(Result::unwrap).find(|line| line.starts_with("listening on"));
    assert!(listening.is_some(), "it says where it listens");
    Command::new("kill").args(["-INT", &served.id().to_string()]).status().unwrap();
    let served = served.wait_with_output().unwrap();
    assert!(served.status.success());
    text(&served.stderr).to_owned()
}

#[test]
fn a_served_shop_logs_for_people_unless_rust_log_says_otherwise() {
    let log = log_of_a_served_shop("");
    assert!(log.contains(" INFO shop::serve: serving address=127.0.0.1:"), "{log}");
    assert!(!log.contains("no log subscriber"), "{log}");
    assert_eq!(log_of_a_served_shop("off"), "");
}

#[test]
fn invalid_log_levels_are_refused_with_an_example() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    let refused = command.args(["report"]).env("RUST_LOG", "shop=loud").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let says = text(&refused.stderr);
    assert!(says.contains("RUST_LOG must be levels such as"), "{says}");
}

fn get(address: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// The access file of a shop whose keys are in `keys.txt`.
const ACCESS: &str = "[api-keys]\nfile = \"keys.txt\"\n";

#[test]
fn an_access_file_that_cannot_be_used_is_refused_before_the_store_is_opened() {
    for (file, reason) in [
        ("[api-keys]\nfile = \"none.txt\"", "cannot read none.txt"),
        ("", "it has none of [tokens], [api-keys] and [proxy]"),
        ("[api_keys]\nfile = \"keys.txt\"", "unknown field `api_keys`"),
        ("[tokens]\nissuer = \"a\"\naudience = \"b\"", "[tokens] has no key"),
        ("[proxy]\npeers = [\"10.0.0.0/40\"]\nactor = \"x\"", "`10.0.0.0/40` is not an address"),
        ("[tokens]\nissuer = \"a\"\naudience = \"b\"\nsecret = \"short\"", "has 6 bytes"),
        (ACCESS, "line 1 is not"),
    ] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("access.toml"), file).unwrap();
        fs::write(directory.path().join("short"), "secret\n").unwrap();
        fs::write(directory.path().join("keys.txt"), "gesta_0 ann clerk").unwrap();
        let arguments = ["serve", "--access", "access.toml", "--listen", "127.0.0.1:0"];
        let outcome = shop(&directory, &arguments);
        assert_eq!(outcome.status.code(), Some(1), "{file}");
        let error = text(&outcome.stderr);
        assert!(error.contains(reason) && error.contains("access.toml"), "{file}: {error}");
        assert!(!error.contains("gesta_0"), "{error}");
        assert!(!directory.path().join("shop-data").exists(), "{file}");
    }
}

#[test]
fn a_new_api_key_is_printed_with_its_line_for_the_file() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["api-key", "till-7", "clerk", "customer"]);
    let lines: Vec<_> = text(&outcome.stdout).lines().collect();
    assert!(lines[1].starts_with("gesta_") && lines[1].len() == 70, "{lines:?}");
    assert!(lines[3].ends_with(" till-7 clerk,customer"), "{lines:?}");
    let hash = lines[3].split(' ').next().unwrap();
    assert_eq!(hash.len(), 64, "{hash}");
    for arguments in [&["api-key", "ann", "king"][..], &["api-key", "anonymous", "clerk"]] {
        assert!(!shop(&directory, arguments).status.success(), "{arguments:?}");
    }
}

#[test]
fn other_machines_are_served_only_with_access_or_allow_remote() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["serve", "--store", "memory:", "--listen", "0.0.0.0:0"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(text(&outcome.stderr).contains("--access FILE"), "{outcome:?}");
    assert!(text(&outcome.stderr).contains("--allow-remote"), "{outcome:?}");
}

#[test]
fn a_second_program_on_the_same_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    let held = gesta_log::LogStore::open(
        directory.path().join("shop-data"),
        gesta_log::Options::default(),
    )
    .unwrap();
    let outcome = shop(&directory, &["report"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(text(&outcome.stderr).contains("gesta:./shop-data"), "{outcome:?}");
    drop(held);
}

#[test]
fn the_default_directory_finds_events_by_id_also_if_it_is_older() {
    let directory = TempDir::new().unwrap();
    let shop = Program::start(directory.path(), &["serve", "--store", "gesta:./shop-data"]);
    shop.command("/v1/products", &mug());
    let read = |shop: &Program| shop.get("/v1/streams/product-mug").json();
    let id = read(&shop)["events"][0]["id"].as_str().unwrap().to_owned();
    let found = format!("/v1/events/{id}");
    assert_eq!(shop.get(&found).status, 501);
    drop(shop);
    let shop = Program::start(directory.path(), &["serve"]);
    assert_eq!(shop.get(&found).json()["events"][0]["id"], id.as_str());
}

#[test]
fn an_unknown_kind_of_store_is_a_usage_error() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["report", "--store", "carrier-pigeon:"]);
    assert_eq!(outcome.status.code(), Some(2));
}

/// The program is given URLs in the wrong places, and with typos.
#[test]
fn no_password_of_a_url_is_printed_wherever_the_url_stands() {
    const URLS: [&str; 7] = [
        "postgres://ann:PW@h/d",
        "postgres:ann:PW@h/d",
        "postgres//ann:PW@h/d",
        "postgres://ann:se'cretPW@h/d?schem=x",
        "postgres://ann:a b@c:PW@h/d?schem=x",
        "postgres://ann@h/d?password=PW&schem=x",
        "sqlite:postgres://ann:PW@h/d",
    ];
    let directory = TempDir::new().unwrap();
    let without_password = |command: &mut Command| {
        let outcome = command.current_dir(&directory).output().unwrap();
        let printed = format!("{}{}", text(&outcome.stdout), text(&outcome.stderr));
        assert!(!printed.is_empty(), "{command:?} says what is wrong");
        assert!(!printed.contains("PW"), "{command:?} prints {printed}");
    };
    let shop = || Command::new(env!("CARGO_BIN_EXE_shop"));
    for url in URLS {
        for before in [
            &[][..],
            &["report"],
            &["import"],
            &["report", "--config"],
            &["serve", "--print-config", "--read-models"],
            &["serve", "--print-config", "--role"],
            &["serve", "--print-config", "--listen"],
            &["report", "--store"],
        ] {
            without_password(shop().args(before).arg(url));
        }
        without_password(shop().arg(format!("--{url}")));
        let role = format!("--role={url}");
        without_password(shop().args(["serve", "--print-config"]).arg(role));
        without_password(shop().arg("report").env("GESTA_CONFIG", url));
        without_password(shop().args(["report", "--store"]).arg(format!("gesta:{url}")));
        without_password(shop().args(["serve", "--print-config"]).env("GESTA_ROLE", url));
        let file = directory.path().join("shop.toml");
        fs::write(&file, format!("role = {url:?}")).unwrap();
        without_password(shop().args(["serve", "--print-config"]));
        fs::remove_file(file).unwrap();
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "no name has a password");
}

#[test]
fn help_shows_the_forms_of_urls() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["report", "--help"]);
    let help = text(&outcome.stdout);
    assert!(help.contains("postgres://USER:PASSWORD@HOST:PORT/DATABASE"), "{help}");
}
