//! Settings: options over variables over a file, as `serve` prints and checks them.

use std::{fs, process::Command};

use tempfile::TempDir;

use super::text;

/// Runs `serve` in a directory without a variable of the settings, except for these.
fn serve(directory: &TempDir, options: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    let is_ours = |name: &str| name.starts_with("GESTA_");
    for (name, _) in std::env::vars().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    command.current_dir(directory).arg("serve").args(options);
    let outcome = command.envs(variables.iter().copied()).output().unwrap();
    let said = format!("{}{}", text(&outcome.stdout), text(&outcome.stderr));
    (outcome.status.success(), said)
}

#[test]
fn each_setting_is_printed_with_its_source_and_without_its_password() {
    let directory = TempDir::new().unwrap();
    let file = "store = \"postgres://ann:secret@db/shop\"\nlisten = \"127.0.0.1:1\"\n\
                welcome-after = 7\nallow-origin = [\"https://a.example\", \"https://b.example\"]\n";
    fs::write(directory.path().join("shop.toml"), file).unwrap();
    let options = ["--print-config", "--role", "commands"];
    let variables = [("GESTA_LISTEN", "127.0.0.1:2"), ("GESTA_ROLE", "queries")];
    let (is_done, said) = serve(&directory, &options, &variables);
    assert!(is_done, "{said}");
    for line in [
        "store = \"postgres://ann:…@db/shop\"  # shop.toml",
        "listen = \"127.0.0.1:2\"  # environment GESTA_LISTEN",
        "role = \"commands\"  # option --role",
        "welcome-after = 7  # shop.toml",
        "allow-origin = [\"https://a.example\", \"https://b.example\"]  # shop.toml",
        "allow-remote = false  # default",
        "cache = \"none\"  # default",
        "# access is not set",
    ] {
        assert!(said.lines().any(|printed| printed == line), "{line}: {said}");
    }
    assert!(!said.contains("secret"), "{said}");
    fs::write(directory.path().join("other.toml"), "welcome-after = 9").unwrap();
    let (_, said) = serve(&directory, &["--print-config", "--config", "other.toml"], &[]);
    assert!(said.contains("welcome-after = 9  # other.toml"), "{said}");
    assert!(said.contains("listen = \"127.0.0.1:3000\"  # default"), "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing was opened");
}

#[test]
fn what_is_printed_is_a_file_with_the_same_settings() {
    let directory = TempDir::new().unwrap();
    let options = ["--print-config", "--store", "memory:", "--welcome-after", "3"];
    let (_, first) = serve(&directory, &options, &[]);
    fs::write(directory.path().join("shop.toml"), &first).unwrap();
    let (is_done, again) = serve(&directory, &["--print-config"], &[]);
    assert!(is_done, "{again}");
    let values = |said: &str| {
        let values = said.lines().filter_map(|line| line.split_once("  # "));
        values.map(|(value, _)| value.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&again), values(&first));
    assert!(values(&first).contains(&"welcome-after = 3".to_owned()), "{first}");
}

#[test]
fn a_wrong_setting_is_refused_by_its_file_and_name() {
    for (file, reason) in [
        ("lisen = \"127.0.0.1:1\"", "there is no setting `lisen`; the nearest is `listen`"),
        ("welcome-after = \"soon\"", "the setting `welcome-after` is wrong: invalid digit"),
        ("allow-remote = \"yes\"", "the setting `allow-remote` must be true or false"),
        ("role = \"king\"", "the setting `role` is wrong"),
        ("listen = [", "line 1 is not TOML"),
        ("tenant = \"Acme\"", "the setting `tenant` is wrong: the id of a tenant"),
    ] {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("shop.toml"), file).unwrap();
        let (is_done, said) = serve(&directory, &["--check-config"], &[]);
        assert!(!is_done && said.contains(&format!("shop.toml: {reason}")), "{file}: {said}");
    }
}

#[test]
fn a_configuration_is_checked_without_a_server() {
    let directory = TempDir::new().unwrap();
    let check = |options: &[&str]| {
        let options = [&["--check-config", "--listen", "127.0.0.1:0"], options].concat();
        serve(&directory, &options, &[])
    };
    let (is_good, said) = check(&[]);
    assert!(is_good, "{said}");
    let would = "would serve gesta:./shop-data?index=event-id,correlation,causation at";
    assert!(said.contains(would), "{said}");
    assert!(said.contains("\nread-models  sqlite:"), "{said}");
    fs::write(directory.path().join("access.toml"), "[api-keys]\nfile = \"keys.txt\"\n").unwrap();
    let (is_good, said) = check(&["--access", "access.toml"]);
    assert!(!is_good && said.contains("cannot read keys.txt"), "{said}");
    fs::write(directory.path().join("keys.txt"), "").unwrap();
    let (is_good, said) = check(&["--access", "access.toml"]);
    assert!(is_good && said.contains("with the access file access.toml"), "{said}");
    let tenants = ["--tenant", "acme,globex", "--store", "gesta:./data/{tenant}"];
    let (is_good, said) = check(&tenants);
    assert!(!is_good && said.contains("--tenant needs --access FILE"), "{said}");
    let (is_good, said) = check(&[&tenants[..], &["--access", "access.toml"]].concat());
    let expected = "would serve gesta:./data/acme and gesta:./data/globex at";
    assert!(is_good && said.contains(expected), "{said}");
    let shared = ["--tenant", "acme,globex", "--access", "access.toml"];
    let (is_good, said) = check(&shared);
    assert!(!is_good && said.contains("each tenant needs a place of its own"), "{said}");
    let remote = ["--listen", "0.0.0.0:0"];
    let (is_good, said) = serve(&directory, &[&["--check-config"][..], &remote].concat(), &[]);
    assert!(!is_good && said.contains("--allow-remote"), "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing was opened");
}
