//! Usage errors and help.

use serde_json::json;

use crate::scene::{Scene, program, run};

const READING: [&[&str]; 7] = [
    &["streams"],
    &["read", "order-1"],
    &["subscribe", "--all"],
    &["verify"],
    &["export"],
    &["stats"],
    &["backup", "no-such-directory"],
];

#[test]
fn a_store_is_asked_for() {
    for verb in READING {
        run(program(verb)).fails_with(2, "no store given: use --store gesta:DIR");
    }
}

#[test]
fn a_store_can_be_named_before_and_after_the_verb() {
    let scene = Scene::of_two_orders();
    let store = format!("gesta:{}", scene.path().display());
    let before = run(program(&["--store", &store, "read", "order-1"]));
    let after = run(program(&["read", "order-1", "--store", &store]));
    assert_eq!(before.stdout(), after.stdout());
}

#[test]
fn a_wrong_store_url_is_rejected_with_the_right_spelling() {
    for (name, advice) in [
        ("./things", "expected a URL gesta:DIR; did you mean gesta:./things?"),
        ("", "the store URL is empty; expected gesta:DIR"),
        ("gesta:", "`gesta:` needs a directory, such as gesta:./data"),
        ("gesta://things", "write gesta:./things for a directory in the current one"),
        ("gesta://things", "or gesta:/things for one at the root"),
        ("gesta:gesta:./things", "has two schemes; write gesta:./things"),
        ("gesta:~/things", "the shell does not expand it there"),
        ("memory:", "a memory store exists only within its own process"),
        ("mysql://db", "the URL scheme mysql: is not supported; expected gesta:DIR"),
        ("postgres:db", "the URL must begin with postgres://"),
    ] {
        run(program(&["streams", "--store", name])).fails_with(2, advice);
    }
}

#[cfg(not(feature = "dynamodb"))]
#[test]
fn a_build_without_dynamodb_names_the_feature() {
    let refused = run(program(&["streams", "--store", "dynamodb://eu-central-1/shop"]));
    refused.fails_with(2, "install it with the feature `dynamodb`");
}

#[cfg(feature = "dynamodb")]
#[test]
fn a_wrong_url_of_dynamodb_is_rejected_with_the_right_spelling() {
    for (name, advice) in [
        ("dynamodb:shop", "the URL must begin with dynamodb://, as in dynamodb://eu-central-1/"),
        ("dynamodb://eu-central-1", "the prefix of the tables must be"),
        ("dynamodb://eu-central-1/shop?emulator=yes", "`yes` needs an `endpoint`"),
        ("mysql://db", "dynamodb://REGION/PREFIX"),
    ] {
        run(program(&["streams", "--store", name])).fails_with(2, advice);
    }
}

#[cfg(feature = "dynamodb")]
#[test]
fn commands_of_a_directory_are_refused_for_dynamodb_with_what_serves_instead() {
    let url = "dynamodb://eu-central-1/shop";
    let refused = run(program(&["verify", "--store", url]));
    refused.fails_with(2, &format!("`gesta verify` works on stores in a directory, not on {url}"));
    let refused = run(program(&["export", "--store", url]));
    refused.fails_with(2, "`gesta copy` moves the events by appends");
}

#[test]
fn a_directory_that_is_not_there_is_never_made() {
    let scene = Scene::empty();
    let missing = scene.path().join("things");
    let store = format!("gesta:{}", missing.display());
    let append = ["append", "order-1", "--type", "order-placed", "--data", "{}"];
    for verb in READING.iter().copied().chain([&append[..]]) {
        let refused = run(program(&[verb, &["--store", &store]].concat()));
        refused.fails_with(2, &format!("no store at {store}"));
        assert!(!missing.exists(), "{verb:?}");
    }
}

#[test]
fn a_directory_without_a_store_stays_without() {
    let scene = Scene::empty();
    for verb in READING {
        scene.run(verb).fails_with(2, "the directory is empty");
    }
    assert!(scene.files().is_empty());
    std::fs::write(scene.path().join("letter.txt"), "dear ann").unwrap();
    for verb in READING {
        scene.run(verb).fails_with(2, "none of the files there belongs to a store");
    }
    assert_eq!(scene.files().len(), 1);
}

#[test]
fn events_are_read_of_a_stream_or_of_all() {
    let scene = Scene::of_two_orders();
    for verb in ["read", "subscribe"] {
        scene.run(&[verb]).fails_with(2, "<STREAM|--all>");
        scene.run(&[verb, "order-1", "--all"]).fails_with(2, "cannot be used with");
    }
}

#[test]
fn an_error_is_one_json_object_where_answers_are_json() {
    let scene = Scene::of_two_orders();
    let conflict = ["append", "order-1", "--type", "t", "--data", "{}", "--expect", "none"];
    for (arguments, code, exit) in [
        (&conflict[..], "conflict", 1),
        (&["append", "order-1", "--type", "t", "--data", "no"], "failed", 2),
        (&["append", "$$order-1", "--type", "t", "--data", "{}"], "system-stream", 2),
        (&["read", "oder-1"], "no-such-stream", 3),
        (&["read"], "usage", 2),
        (&["raed", "order-1"], "usage", 2),
        (&["delete", "order-1"], "confirmation-needed", 2),
    ] {
        let failed = scene.run(&[arguments, &["--json"]].concat());
        assert_eq!(failed.code, exit, "{failed:?}");
        let error = failed.error();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        assert!(error.get("hint").is_some(), "{error}");
        assert!(failed.out.is_empty(), "{failed:?}");
    }
    let nowhere = run(program(&["streams", "--store", "gesta:./no-such", "--json"]));
    assert!(nowhere.error()["message"].as_str().unwrap().contains("no store at gesta:./no-such"));
    assert!(run(program(&["--help", "--json"])).stdout().contains("Exit codes:"));
}

#[test]
fn programs_learn_the_reason_why_a_store_cannot_be_used() {
    let unnamed = run(program(&["streams", "--json"]));
    assert_eq!((unnamed.code, &unnamed.error()["code"]), (2, &json!("no-store-named")));
    let (empty, other) = (Scene::empty(), Scene::empty());
    std::fs::write(other.path().join("letter.txt"), "dear ann").unwrap();
    for scene in [&empty, &other] {
        let none = scene.run(&["streams", "--json"]);
        assert_eq!((none.code, &none.error()["code"]), (2, &json!("no-store")));
    }
    let missing = run(program(&["streams", "--store", "gesta:./no-such", "--json"]));
    assert_eq!(missing.error()["code"], "no-store");
    let scene = Scene::of_two_orders();
    let _open = scene.open();
    for verb in [
        &["append", "order-1", "--type", "t", "--data", "{}"][..],
        &["delete", "order-1", "--yes"],
        &["metadata", "set", "order-1", "{}", "--yes"],
        &["scavenge"],
        &["clock", "--restart"],
    ] {
        let refused = scene.run(&[verb, &["--json"]].concat());
        assert_eq!((refused.code, &refused.error()["code"]), (2, &json!("store-in-use")));
    }
}

#[test]
fn an_empty_name_is_wrong_usage_for_every_verb() {
    for verb in [
        &["processes", "list", ""][..],
        &["processes", "show", "welcome", ""],
        &["processes", "set-aside", ""],
        &["processes", "retry", "welcome", ""],
        &["processes", "skip", "", "instance:ann", "1"],
        &["processes", "cancel", "", "ann"],
        &["processes", "fire", "welcome", "ann", ""],
        &["processes", "resend", "welcome", "ann", ""],
        &["projections", "rebuild", ""],
        &["dead-letters", "retry", ""],
        &["dead-letters", "discard", ""],
        &["read", ""],
        &["import", ""],
        &["backup", ""],
    ] {
        let refused = run(program(&[verb, &["--json"]].concat()));
        assert_eq!((refused.code, &refused.error()["code"]), (2, &json!("usage")), "{verb:?}");
    }
}

#[test]
fn every_verb_helps_with_examples() {
    let help = run(program(&["--help"]));
    for verb in [
        "streams",
        "read",
        "append",
        "delete",
        "truncate",
        "tombstone",
        "metadata",
        "subscribe",
        "verify",
        "export",
        "import",
        "bench",
        "backup",
        "restore",
        "copy",
        "stats",
    ] {
        assert!(help.stdout().contains(&format!("\n  {verb} ")), "{verb}");
        let of_verb = run(program(&[verb, "--help"]));
        assert!(of_verb.stdout().contains("--store <URL>"), "{verb}");
        assert!(of_verb.stdout().contains("Example") || verb == "verify", "{verb}");
    }
}

#[test]
fn an_error_about_a_path_names_the_path_and_the_remedy() {
    let scene = Scene::of_two_orders();
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("file"), "").unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    let (below, missing) = (at("file/things"), at("missing/things"));
    let store = format!("gesta:{below}");
    let part_is_a_file = "hint: a part of the path is a file";
    let correct = "hint: correct the path";
    let new = at("new");
    let append = ["append", "order-1", "--type", "order-placed", "--data-file", &missing];
    let cases: [(&[&str], &str, &str); 8] = [
        (&["streams", "--store", &store], &below, part_is_a_file),
        (&["verify", "--store", &store], &below, part_is_a_file),
        (&["backup", &below], &below, part_is_a_file),
        (&["restore", &missing, &new], &missing, correct),
        (&["export", "--output", &below], &below, part_is_a_file),
        (&["export", "--output", &missing], &missing, correct),
        (&["import", &missing], &missing, correct),
        (&append, &missing, correct),
    ];
    for (verb, path, remedy) in cases {
        let refused = scene.run(verb);
        refused.fails_with(2, path);
        refused.fails_with(2, remedy);
    }
}

#[test]
fn a_backup_does_not_go_into_its_store() {
    let scene = Scene::of_two_orders();
    let inside = scene.path().join("backup").display().to_string();
    let refused = scene.run(&["backup", &inside]);
    refused.fails_with(2, &format!("{inside} lies inside of {}", scene.path().display()));
    refused.fails_with(2, "use a directory outside of it");
    assert_eq!(scene.run(&["verify"]).stdout(), "sound: 3 events in 1 segment\n");
}

#[test]
fn no_password_of_a_url_is_printed_wherever_the_url_stands() {
    const URLS: [&str; 6] = [
        "postgres:ann:PW@h/d",
        "postgres//ann:PW@h/d",
        "postgres://ann:se'cretPW@h/d?schem=x",
        "postgres://ann:a \"b@c:PW@h/d?schem=x",
        "postgres://ann@h/d?password=PW&schem=x",
        "gesta:postgres://ann:PW@h/d",
    ];
    for url in URLS {
        let given = |arguments: &[&str]| program(&[arguments, &[url]].concat());
        let mut in_environment = program(&["streams"]);
        in_environment.env("GESTA_STORE", url);
        let mut in_environment_json = program(&["streams", "--json"]);
        in_environment_json.env("GESTA_STORE", url);
        for command in [
            given(&["streams", "--store"]),
            given(&["streams", "--json", "--store"]),
            in_environment,
            in_environment_json,
            given(&[]),
            given(&["stats"]),
            given(&["copy"]),
            given(&["copy", "--json", "gesta:./none"]),
            given(&["--json", "copy", "gesta:./none"]),
            given(&["restore", "gesta:./none"]),
            given(&["import", "--store", "gesta:./none"]),
            given(&["processes", "list", "--url"]),
            program(&[&format!("--{url}")]),
            program(&["stats", &format!("--json={url}")]),
        ] {
            let shown = format!("{command:?}");
            let outcome = run(command);
            assert_ne!(outcome.code, 0, "{shown}");
            assert!(!outcome.err.is_empty(), "{shown} says what is wrong");
            let printed = format!("{}{}", outcome.out, outcome.err);
            assert!(!printed.contains("PW"), "{shown} prints {printed}");
        }
    }
}
