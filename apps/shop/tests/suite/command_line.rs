//! The binary: output and exit codes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

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

#[test]
fn a_report_of_a_store_that_is_not_there_is_refused_and_creates_none() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["report", "--store", "gesta:./typo"]);
    assert_eq!(outcome.status.code(), Some(1));
    let error = text(&outcome.stderr);
    assert!(error.contains("no store at gesta:./typo; check --store"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
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

#[test]
fn other_machines_are_served_only_with_allow_remote() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["serve", "--store", "memory:", "--listen", "0.0.0.0:0"]);
    assert_eq!(outcome.status.code(), Some(1));
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
fn an_unknown_kind_of_store_is_a_usage_error() {
    let directory = TempDir::new().unwrap();
    let outcome = shop(&directory, &["report", "--store", "carrier-pigeon:"]);
    assert_eq!(outcome.status.code(), Some(2));
}
