//! Settings of a small program, from all sources.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::path::Path;

use clap::{Arg, ArgAction, Command, value_parser};
use gesta_settings::{InvalidSettings, Listing, Settings, SettingsFile};

/// No variable of these names is set where tests run, except by the tests of the programs.
fn doors() -> Command {
    let url = Arg::new("store").long("store").env("DOORS_TEST_STORE").hide_env_values(true);
    let key = Arg::new("key").long("key").env("DOORS_TEST_KEY").hide_env(true);
    let port = Arg::new("port").long("port").env("DOORS_TEST_PORT").default_value("80");
    let open = Arg::new("open").long("open").env("DOORS_TEST_OPEN").action(ArgAction::SetTrue);
    let names = Arg::new("names").long("name").env("DOORS_TEST_NAMES").action(ArgAction::Append);
    let serve = Command::new("serve")
        .arg(port.value_parser(value_parser!(u16)))
        .arg(open)
        .arg(names)
        .arg(Arg::new("check").long("check-config").action(ArgAction::SetTrue));
    Command::new("doors")
        .arg(url.global(true))
        .arg(key.global(true))
        .arg(Arg::new("config").long("config").env("DOORS_TEST_CONFIG").global(true))
        .subcommand(serve)
        .subcommand(Command::new("other").arg(Arg::new("x").long("x").env("DOORS_TEST_X")))
}

fn settings() -> Settings {
    Settings::of(&doors(), &["serve"])
}

fn parse(text: &str) -> Result<SettingsFile, InvalidSettings> {
    SettingsFile::parse(Path::new("doors.toml"), text, &settings())
}

fn in_force(text: &str, arguments: &[&str]) -> Listing {
    let file = parse(text).unwrap();
    let arguments = ["doors", "serve"].into_iter().chain(arguments.iter().copied());
    let matches = file.as_defaults_of(doors()).try_get_matches_from(arguments).unwrap();
    settings().in_force(&matches, Some(&file))
}

#[test]
fn settings_are_the_arguments_with_a_variable() {
    let settings = settings();
    assert_eq!(settings.names().collect::<Vec<_>>(), ["store", "key", "port", "open", "name"]);
}

#[test]
fn an_option_is_stronger_than_the_file_and_the_file_than_a_default() {
    let text = "port = 8080\nname = [\"a\", \"b\"]\nopen = true";
    let listing = in_force(text, &["--name", "c", "--store", "memory:"]).to_string();
    let expected = "store = \"memory:\"  # option --store\n\
                    # key is not set\n\
                    port = 8080  # doors.toml\n\
                    open = true  # doors.toml\n\
                    name = [\"c\"]  # option --name\n";
    assert_eq!(listing, expected);
    let listing = in_force("", &[]).to_string();
    assert!(listing.contains("port = 80  # default\nopen = false  # default\n"), "{listing}");
}

#[test]
fn a_listing_is_a_file_with_the_same_settings() {
    let text = "store = \"gesta:./a \\\"b\\\"\"\nport = 8080\nopen = true\n\
                name = [\"7\", \"007\"]";
    let listing = in_force(text, &[]);
    let again = in_force(&listing.to_string(), &[]);
    assert_eq!(again, listing);
    assert_eq!(parse(&listing.to_string()).unwrap().values().count(), 5);
}

#[test]
fn no_secret_is_listed() {
    let text = "store = \"postgres://ann:secret@db/doors\"\nkey = \"secret\"\n\
                name = \"a://b:secret@c\"";
    let listing = in_force(text, &[]);
    let json: Vec<_> = listing.iter().map(|it| serde_json::to_value(it).unwrap()).collect();
    let text = listing.to_string();
    assert!(text.contains("store = \"postgres://ann:…@db/doors\"  # doors.toml"), "{text}");
    assert!(text.contains("key = \"(hidden)\"  # doors.toml"), "{text}");
    assert!(!text.contains("secret") && !format!("{json:?}").contains("secret"), "{text}");
    let port = json.iter().find(|it| it.get("name") == Some(&"port".into())).unwrap();
    assert_eq!(*port, serde_json::json!({ "name": "port", "value": "80", "source": "default" }));
}

#[test]
fn a_name_that_is_no_setting_is_refused_with_the_nearest_one() {
    for (name, nearest) in [("prot", "port"), ("stor", "store"), ("opne", "open"), ("x", "store")] {
        let error = parse(&format!("{name} = \"postgres://a:secret@b\"")).unwrap_err();
        let text = error.to_string();
        let expected = format!("doors.toml: there is no setting `{name}`; the nearest is `");
        assert!(text.starts_with(&expected) && !text.contains("secret"), "{text}");
        assert!(text.ends_with("; the settings are store, key, port, open, name"), "{text}");
        if name != "x" {
            assert!(text.contains(&format!("nearest is `{nearest}`")), "{text}");
        }
    }
    for other in ["config = \"a.toml\"", "check-config = true"] {
        assert!(matches!(parse(other), Err(InvalidSettings::Unknown { .. })), "{other}");
    }
}

#[test]
fn a_wrong_value_is_refused_by_its_name_without_passwords() {
    for (text, reason) in [
        ("store = \"postgres://a:secret@b", "doors.toml: line 1 is not TOML"),
        ("open = true\nport = 18446744073709551615", "doors.toml: line 2 is not TOML"),
        ("open = \"yes\"", "doors.toml: the setting `open` must be true or false"),
        ("port = [\"secret\"]", "doors.toml: the setting `port` must be a text or a number"),
        ("port = true", "doors.toml: the setting `port` must be a text or a number"),
        ("[port]\na = \"secret\"", "doors.toml: the setting `port` must be a text or a number"),
        ("name = [true]", "doors.toml: the setting `name` must be a text, a number or a list"),
        ("port = 70000", "doors.toml: the setting `port` is wrong: 70000 is not in 0..=65535"),
        ("port = \"a://b:secret@c\"", "doors.toml: the setting `port` is wrong: invalid digit"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(reason) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn a_file_may_be_missing_if_it_was_not_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("doors.toml");
    assert!(SettingsFile::read_if_there(&path, &settings()).unwrap().is_none());
    let error = SettingsFile::read(&path, &settings()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the settings in "), "{error}");
    std::fs::write(&path, "port = 8080").unwrap();
    assert!(SettingsFile::read_if_there(&path, &settings()).unwrap().is_some());
}
