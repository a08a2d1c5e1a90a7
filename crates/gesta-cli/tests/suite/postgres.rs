//! The verbs on a store in PostgreSQL.

use serde_json::Value;

use crate::{
    database::Database,
    scene::{RunOutput, Scene, program, run},
};

const ID: &str = "0190a6b4-7c00-7000-8000-00000000000";

/// Changes of a store, one command each.
fn changes() -> Vec<Vec<String>> {
    let id = |nth| format!("{ID}{nth}");
    let append = |stream: &str, nth: u32, rest: &[&str]| {
        let first = ["append", stream, "--type", "order-placed", "--data", "{\"total\":\"9.90\"}"];
        let id = id(nth);
        let with_id = ["--id", &id];
        let all = first.iter().chain(&with_id).chain(rest);
        all.map(|text| (*text).to_owned()).collect::<Vec<_>>()
    };
    let plain = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    vec![
        append("order-1", 1, &["--expect", "none", "--tag", "customer:7", "--correlation", "call"]),
        append("order-1", 2, &["--expect", "0", "--schema-version", "2"]),
        append("order-2", 3, &["--metadata", "{\"actor\":\"ann\"}"]),
        append("order-3", 4, &[]),
        append("user-1", 5, &[]),
        // The same again: a repeat.
        append("user-1", 5, &[]),
        // A conflict.
        append("order-1", 6, &["--expect", "none"]),
        plain(&["metadata", "set", "order-2", "{\"$maxCount\":5}", "--yes"]),
        plain(&["truncate", "order-1", "--before", "1", "--yes"]),
        plain(&["delete", "order-3", "--yes"]),
        plain(&["tombstone", "user-1", "--yes"]),
        append("user-1", 7, &[]),
        append("order-3", 8, &[]),
    ]
}

const READS: [&[&str]; 10] = [
    &["streams"],
    &["streams", "--categories"],
    &["read", "order-1"],
    &["read", "order-9"],
    &["read", "user-1"],
    &["read", "--all", "--tag", "customer:7"],
    &["read", "--all", "--backwards", "--limit", "3"],
    &["metadata", "get", "order-2"],
    &["subscribe", "--all", "--until-caught-up"],
    &["subscribe", "order-3", "--until-caught-up"],
];

/// The output without what differs by nature: times, and names of places.
fn comparable(output: &RunOutput) -> (i32, Vec<Value>, String) {
    let object = |line: &str| {
        let mut object: Value = serde_json::from_str(line).unwrap();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("recordedAt");
            fields.remove("ids");
        }
        object
    };
    (output.code, output.out.lines().map(object).collect(), output.err.clone())
}

#[test]
fn verbs_work_alike_on_a_directory_and_on_postgresql() {
    let Some(database) = Database::new_or_skip() else { return };
    let scene = Scene::empty();
    let changes = changes();
    let changes: Vec<Vec<&str>> =
        changes.iter().map(|words| words.iter().map(String::as_str).collect()).collect();
    for words in changes.iter().map(Vec::as_slice).chain(READS) {
        let words = [words, &["--json"]].concat();
        let (one, other) = (scene.run(&words), database.run(&words));
        // Deletions have ids of their own.
        let is_whole = words.first() == Some(&"subscribe") || words.contains(&"--backwards");
        if is_whole {
            let shape = |output: &RunOutput| {
                let rows = comparable(output).1;
                rows.iter()
                    .map(|row| (row["stream"].clone(), row["revision"].clone()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(shape(&one), shape(&other), "{words:?}");
            continue;
        }
        assert_eq!(comparable(&one), comparable(&other), "{words:?}");
    }
}

#[test]
fn stats_count_the_events_of_a_schema() {
    let Some(database) = Database::new_or_skip() else { return };
    for words in &changes()[..5] {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(database.run(&words).code, 0);
    }
    let stats = &database.run(&["stats", "--json"]).objects()[0];
    assert_eq!((&stats["events"], &stats["streams"]), (&5.into(), &4.into()), "{stats}");
    assert_eq!(stats["categories"][0]["category"], "order", "{stats}");
    assert!(stats["files"].is_null() && stats["segments"].is_null(), "{stats}");
    assert!(database.run(&["stats"]).stdout().contains("head        position 5"));
}

#[test]
fn an_export_of_a_schema_is_imported_exactly_into_a_directory_and_back() {
    let Some(database) = Database::new_or_skip() else { return };
    for words in changes() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        database.run(&words);
    }
    let exported = database.run(&["export"]);
    let appends = |text: &str| {
        let end: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        end["end"]["appendsBlake3"].clone()
    };
    let wanted = appends(exported.stdout());
    let scene = Scene::empty();
    let imported = scene.run_with_input(&["import", "-"], &exported.out);
    assert!(imported.stdout().contains("exactly as exported"), "{imported:?}");
    assert_eq!(appends(scene.run(&["export"]).stdout()), wanted);
    // From a file, into another schema.
    let file = scene.path().join("export.jsonl");
    std::fs::write(&file, &scene.run(&["export"]).out).unwrap();
    let other = database.another();
    let imported = other.run(&["import", file.to_str().unwrap()]);
    assert!(imported.stdout().contains("exactly as exported"), "{imported:?}");
    assert_eq!(appends(other.run(&["export"]).stdout()), wanted);
    let again = other.run(&["import", file.to_str().unwrap(), "--json"]);
    assert_eq!(again.objects()[0]["appended"], 0, "{again:?}");
}

#[test]
fn verbs_of_directories_say_what_serves_on_postgresql() {
    let Some(database) = Database::new_or_skip() else { return };
    for (verb, instead) in [
        (&["verify"][..], "pg_amcheck"),
        (&["backup", "elsewhere"], "pg_dump"),
        (&["scavenge"], "nothing to scavenge"),
        (&["clock", "--restart"], "clock of the database server"),
        (&["bench", "append"], "pgbench"),
    ] {
        let refused = database.run(&[verb, &["--json"]].concat());
        let error = refused.error();
        assert_eq!((refused.code, &error["code"]), (2, &"unsupported".into()), "{error}");
        assert!(error["hint"].as_str().unwrap().contains(instead), "{error}");
    }
}

#[test]
fn reading_creates_no_schema() {
    let Some(database) = Database::new_or_skip() else { return };
    for verb in [
        &["streams"][..],
        &["read", "order-1"],
        &["stats"],
        &["export"],
        &["delete", "order-1", "--yes"],
        &["subscribe", "--all", "--until-caught-up"],
    ] {
        let refused = database.run(&[verb, &["--json"]].concat());
        let error = refused.error();
        assert_eq!((refused.code, &error["code"]), (2, &"no-store".into()), "{verb:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains(&database.schema), "{error}");
    }
    let query = "SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'";
    assert_eq!(database.number(query), Some(0));
}

#[test]
fn a_store_with_older_tables_is_not_changed_by_reading() {
    let Some(database) = Database::new_or_skip() else { return };
    assert_eq!(database.run(&["append", "a-1", "--type", "t", "--data", "1"]).code, 0);
    database.execute("UPDATE {schema}.store SET version = 1");
    database.run(&["read", "a-1"]).fails_with(2, "has version 1 of the tables");
    assert_eq!(database.number("SELECT version::bigint FROM {schema}.store"), Some(1));
}

#[test]
fn passwords_are_printed_nowhere() {
    let nowhere = "postgres://ann:hunter2@127.0.0.1:1/shop";
    for url in [
        nowhere,
        "postgres://ann:hunter2@db:port/shop",
        "postgres://ann:hunter2@db/shop?schema=",
        "postgres://ann:hunter2@db/shop?unknown=1",
        "mysql://ann:hunter2@db/shop",
        "postgres://ann@127.0.0.1:1/shop?password=hunter2",
    ] {
        for arguments in [
            &["streams"][..],
            &["streams", "--json"],
            &["streams", "--help"],
            &["verify"],
            &["copy", url, "gesta:./no-such"],
            &["backup", url],
            &["raed"],
        ] {
            let mut command = program(arguments);
            command.env("GESTA_STORE", url).env_remove("PGPASSWORD");
            let by_environment = run(command);
            let by_argument = run(program(&[arguments, &["--store", url]].concat()));
            for output in [by_environment, by_argument] {
                assert!(!output.out.contains("hunter2"), "{output:?}");
                assert!(!output.err.contains("hunter2"), "{output:?}");
            }
        }
    }
    let unreachable = run(program(&["streams", "--json", "--store", nowhere]));
    let error = unreachable.error();
    assert_eq!((unreachable.code, &error["code"]), (2, &"unreachable".into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains("postgres://ann@127.0.0.1:1/shop"));
}

/// The server answers, so its address is right.
#[test]
fn the_hint_for_an_error_of_the_server_is_of_its_kind() {
    let Some(database) = Database::new_or_skip() else { return };
    let url = database.url();
    let (before, after) = url.rsplit_once('/').expect("the URL has a database");
    let (_, parameters) = after.split_once('?').expect("the URL has a schema");
    let missing = format!("{before}/no_such_database?{parameters}");
    let refused = run(program(&["streams", "--store", &missing, "--json"]));
    let hint = &refused.error()["hint"];
    assert_eq!(hint, "create the database, or correct its name in the URL", "{refused:?}");
    let away = "postgres://ann@127.0.0.1:1/shop";
    let refused = run(program(&["streams", "--store", away, "--json"]));
    assert_eq!(refused.error()["hint"], "check the store's address, then retry", "{refused:?}");
}

/// The port of a server that asks each connection for a password.
fn port_that_asks_for_a_password() -> u16 {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // The startup message.
            drop(connection.read(&mut [0; 1_024]));
            drop(connection.write_all(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"));
            drop(connection.read(&mut [0; 1]));
        }
    });
    port
}

#[test]
#[cfg(unix)]
fn a_password_file_that_is_not_used_is_named_with_the_reason() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    let port = port_that_asks_for_a_password();
    let scene = Scene::empty();
    let file = scene.path().join("passwords");
    fs::write(&file, "*:*:*:*:PW").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let url = format!("postgres://ann@127.0.0.1:{port}/shop?sslmode=disable");
    for (passwords, reason) in [
        (file.as_path(), "is not used, because others may read it; run chmod 600 on it"),
        (std::path::Path::new("/nowhere"), "no password was found; give one in the URL"),
    ] {
        let mut command = program(&["streams", "--json", "--store", &url]);
        command.env("PGPASSFILE", passwords).env_remove("PGPASSWORD");
        let refused = run(command);
        refused.fails_with(2, reason);
        assert_eq!(refused.error()["code"], "denied", "{refused:?}");
    }
}
