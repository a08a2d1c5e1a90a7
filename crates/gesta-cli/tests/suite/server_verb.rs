//! `gesta server`: users, groups and projections of a running server.

use std::{fs, path::Path, process::Command};

use gesta_store::Position;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    scene::{RunOutput, Running, Scene, program, run},
    serve_securely::{SERVE, certificates, path, serve, serve_by},
    verify::change_last_byte,
};

/// A command for an insecure server.
fn on(address: &str, arguments: &[&str]) -> RunOutput {
    let url = format!("kurrentdb://{address}?tls=false");
    run(program(&[&["server", "--json", "--server", &url], arguments].concat()))
}

fn insecure(scene: &Scene) -> (Running, String) {
    let arguments = ["serve", "--json", "--insecure", "--listen", "127.0.0.1:0"];
    let server = Running::start(scene.command(&arguments));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    (server, started["address"].as_str().unwrap().to_owned())
}

#[test]
fn users_are_managed_over_tls_and_their_passwords_are_no_arguments() {
    let (scene, certificates) = (Scene::empty(), certificates());
    let certificates = certificates.path();
    let first = certificates.join("passwords");
    let server = serve(&scene, certificates, &["--admin-password-file", path(&first)]);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let port = started["address"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let passwords = fs::read_to_string(&first).unwrap();
    let admins = passwords.lines().find_map(|line| line.strip_prefix("admin ")).unwrap();
    let command = |login: &str, password: &str, arguments: &[&str]| {
        let ca = path(&certificates.join("ca.pem")).to_owned();
        let mut command = program(&["server", "--json"]);
        let url = format!("kurrentdb://{login}@localhost:{port}?tlsCaFile={ca}");
        command.args(arguments).env("GESTA_SERVER", url).env("GESTA_PASSWORD", password);
        command
    };
    let admin = |arguments: &[&str]| command("admin", admins, arguments);
    let with_new = |mut command: Command, password: &str| {
        command.env("GESTA_NEW_PASSWORD", password);
        run(command)
    };

    let create = ["users", "create", "ann", "--group", "sales", "--group", "$ops"];
    run(admin(&create)).fails_with(2, "there is no new password for ann");
    with_new(admin(&create), "short").fails_with(2, "8 to 1024 bytes");
    assert_eq!(with_new(admin(&create), "first-password").objects(), [json!({ "done": true })]);
    with_new(admin(&create), "first-password").fails_with(1, "exists");
    let users = run(admin(&["users", "list"])).objects();
    let ann = users.iter().find(|user| user["login"] == "ann").unwrap();
    assert_eq!(ann["groups"], json!(["sales", "$ops"]));

    let stats = |password: &str| run(command("ann", password, &["stats"]));
    assert!(stats("first-password").objects()[0]["appends_total"].is_number());
    stats("wrong-password").fails_with(2, "");
    let file = certificates.join("new");
    fs::write(&file, "second-password\n").unwrap();
    let change = ["users", "password", "ann", "--new-password-file", path(&file)];
    assert_eq!(run(admin(&change)).code, 0);
    assert_eq!(stats("second-password").code, 0);
    run(command("ann", "second-password", &["users", "list"])).fails_with(2, "may");

    run(admin(&["users", "delete", "ann"])).fails_with(2, "must be confirmed");
    assert_eq!(run(admin(&["users", "delete", "ann", "--yes"])).code, 0);
    run(admin(&["users", "disable", "ann"])).fails_with(3, "no user `ann`");
}

/// A secured server of an empty store, with the files of `gesta certs dev`.
pub(crate) struct Secured {
    server: Running,
    _scene: Scene,
    pub(crate) certificates: TempDir,
    port: String,
}

impl Secured {
    fn start() -> Self {
        let scene = Scene::empty();
        Self::by(scene.command(&SERVE), scene)
    }

    /// Serves the store of a command with the words of [`SERVE`].
    pub(crate) fn by(command: Command, scene: Scene) -> Self {
        let certificates = certificates();
        let (server, port) = Self::served(command, certificates.path());
        Self { server, _scene: scene, certificates, port }
    }

    /// Ends the server and starts another one.
    pub(crate) fn restart_by(&mut self, command: Command) {
        assert_eq!(self.server.terminate(), Some(0));
        (self.server, self.port) = Self::served(command, self.certificates.path());
    }

    fn served(command: Command, certificates: &Path) -> (Running, String) {
        let first = certificates.join("passwords");
        let server = serve_by(command, certificates, &["--admin-password-file", path(&first)]);
        let started: Value = serde_json::from_str(&server.line()).unwrap();
        let port = started["address"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        (server, port)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn file(&self, name: &str) -> String {
        path(&self.certificates.path().join(name)).to_owned()
    }

    /// Runs a command with the file of first passwords.
    fn run(&self, login: &str, arguments: &[&str]) -> RunOutput {
        let (authority, passwords) = (self.file("ca.pem"), self.file("passwords"));
        let url = format!("kurrentdb://{login}@localhost:{}?tlsCaFile={authority}", self.port);
        let mut command = program(&["server", "--json", "--password-file", &passwords]);
        command.args(arguments).env("GESTA_SERVER", url).env("GESTA_NEW_PASSWORD", "changeit");
        run(command)
    }

    pub(crate) fn admin(&self, arguments: &[&str]) -> RunOutput {
        self.run("admin", arguments)
    }
}

#[test]
fn the_file_that_a_server_has_written_has_the_password_of_its_login() {
    let secured = Secured::start();
    for login in ["admin", "ops"] {
        assert!(secured.run(login, &["stats"]).objects()[0]["appends_total"].is_number());
    }
    secured.run("ann", &["stats"]).fails_with(2, "none of ann");
}

#[cfg(feature = "kurrentdb")]
#[test]
fn a_verb_on_a_served_store_takes_the_password_from_the_environment() {
    let secured = Secured::start();
    let passwords = fs::read_to_string(secured.file("passwords")).unwrap();
    let admins = passwords.lines().find_map(|line| line.strip_prefix("admin ")).unwrap();
    let (port, authority) = (&secured.port, secured.file("ca.pem"));
    let url = format!("kurrentdb://admin@localhost:{port}?tlsCaFile={authority}");
    let read = |password: Option<&str>| {
        let mut command = program(&["read", "$users", "--json"]);
        command.env("GESTA_STORE", &url).env_remove("GESTA_PASSWORD");
        command.envs(password.map(|password| ("GESTA_PASSWORD", password)));
        run(command)
    };
    assert!(!read(Some(admins)).objects().is_empty());
    let refused = read(None);
    refused.fails_with(2, "");
    assert!(refused.err.contains("GESTA_PASSWORD"), "{refused:?}");
}

#[test]
fn the_groups_of_a_user_change_and_the_last_administrator_stays() {
    let secured = Secured::start();
    secured.admin(&["users", "create", "ann", "--group", "sales", "--full-name", "Ann"]).stdout();
    let change = ["users", "groups", "ann", "--add", "$ops", "--add", "sales", "--remove", "x"];
    assert_eq!(secured.admin(&change).objects(), [json!({ "done": true })]);
    let ann = || {
        let users = secured.admin(&["users", "list"]).objects();
        users.into_iter().find(|user| user["login"] == "ann").unwrap()
    };
    assert_eq!((&ann()["groups"], &ann()["fullName"]), (&json!(["sales", "$ops"]), &"Ann".into()));
    secured.admin(&["users", "groups", "ann", "--remove", "sales"]).stdout();
    assert_eq!(ann()["groups"], json!(["$ops"]));

    secured.admin(&["users", "groups", "ann"]).fails_with(2, "--add");
    let both = ["users", "groups", "ann", "--add", "a", "--remove", "a"];
    secured.admin(&both).fails_with(2, "a cannot be added and removed");
    secured.admin(&["users", "groups", "bob", "--add", "a"]).fails_with(3, "no user `bob`");
    let last = secured.admin(&["users", "groups", "admin", "--remove", "$admins"]);
    last.fails_with(1, "last enabled member");
}

#[test]
fn rights_to_a_stream_are_given_and_taken_and_its_other_metadata_stay() {
    let secured = Secured::start();
    let show = || secured.admin(&["acl", "show", "order-1"]).objects().remove(0);
    assert_eq!(show()["read"], "default");
    let set = ["acl", "set", "order-1", "--read", "ann,sales", "--set-metadata", "$admins"];
    assert_eq!(secured.admin(&set).objects(), [json!({ "done": true })]);
    secured.admin(&["acl", "set", "order-1", "--append", "ann"]).stdout();
    let acl = show();
    assert_eq!(acl["read"], json!(["ann", "sales"]));
    assert_eq!((&acl["append"], &acl["delete"]), (&json!(["ann"]), &"default".into()));
    secured.run("ops", &["acl", "set", "order-1", "--read", "ops"]).fails_with(2, "denied");
    secured.admin(&["acl", "set", "order-1", "--default", "read"]).stdout();
    let acl = show();
    assert_eq!((&acl["read"], &acl["setMetadata"]), (&"default".into(), &json!(["$admins"])));
    secured.admin(&["acl", "set", "order-1"]).fails_with(2, "--read");
    secured.admin(&["acl", "set", "order-1", "--read", "a,,b"]).fails_with(2, "a name is empty");
    secured.admin(&["acl", "clear", "order-1"]).fails_with(2, "must be confirmed");
    secured.admin(&["acl", "clear", "order-1", "--yes"]).stdout();
    assert_eq!(show()["setMetadata"], "default");
    secured.admin(&["acl", "set", "$ce-order", "--read", "ann"]).stdout();
    let category = secured.admin(&["acl", "show", "$ce-order"]).objects().remove(0);
    assert_eq!(category["read"], json!(["ann"]));
}

#[test]
fn a_wrong_kind_of_connection_is_told_with_what_to_write() {
    let secured = Secured::start();
    let stranger = certificates();
    let on = |url: &str| {
        let mut command = program(&["server", "--json", "stats"]);
        command.env("GESTA_SERVER", url).env("GESTA_PASSWORD", "changeit");
        run(command)
    };
    let fails = |url: &str, code: &str, hint: &str| {
        let output = on(url);
        assert_eq!((output.code, &output.error()["code"]), (2, &code.into()), "{output:?}");
        assert!(output.error()["hint"].as_str().unwrap().contains(hint), "{output:?}");
    };
    let (port, other) = (&secured.port, path(&stranger.path().join("ca.pem")).to_owned());
    let strange = format!("kurrentdb://admin@localhost:{port}?tlsCaFile={other}");
    fails(&strange, "unknown-authority", "?tlsCaFile=");
    fails(&format!("kurrentdb://localhost:{port}?tls=false"), "needs-tls", "remove tls=false");
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let plain = format!("kurrentdb://admin@{address}?tlsCaFile={other}");
    fails(&plain, "lacks-tls", "tls=false");

    #[cfg(feature = "kurrentdb")]
    for (store, advice) in [
        (strange, "name the file of the authority by `tlsCaFile`"),
        (format!("kurrentdb://localhost:{port}?tls=false"), "remove `tls=false`"),
        (plain, "add `tls=false`"),
    ] {
        let mut command = program(&["read", "order-1"]);
        command.env("GESTA_STORE", format!("{store}&maxDiscoverAttempts=1"));
        run(command).fails_with(2, advice);
    }
}

#[test]
fn a_group_is_created_listed_and_deleted() {
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let on = |arguments: &[&str]| on(&address, arguments);
    let create = ["groups", "create", "order-1", "mail", "--from-start", "--strategy", "pinned"];
    assert_eq!(on(&create).objects(), [json!({ "done": true })]);
    on(&create).fails_with(1, "exists");
    let listed = on(&["groups", "list"]).objects();
    assert_eq!((&listed[0]["source"], &listed[0]["name"]), (&"order-1".into(), &"mail".into()));
    assert_eq!(on(&["groups", "show", "order-1", "mail"]).objects()[0]["strategy"], "Pinned");
    assert_eq!(on(&["groups", "replay", "order-1", "mail"]).code, 0);
    assert_eq!(on(&["groups", "delete", "order-1", "mail", "--yes"]).code, 0);
    on(&["groups", "show", "order-1", "mail"]).fails_with(3, "does not exist");
}

#[test]
fn a_projection_is_created_from_a_file_and_its_state_is_shown() {
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let on = |arguments: &[&str]| on(&address, arguments);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("totals.js");
    let script = "fromCategory('order').when({ $init: () => ({ paid: 0 }), \
                  'order-paid': (s) => { s.paid++; return s; } })";
    fs::write(&file, script).unwrap();
    assert_eq!(on(&["projections", "create", "totals", "--file", path(&file)]).code, 0);
    while on(&["projections", "state", "totals"]).objects() != [json!({ "paid": 1 })] {}
    let listed = on(&["projections", "list"]).objects();
    assert!(listed.iter().any(|one| one["name"] == "totals" && one["status"] == "Running"));
    let running = on(&["projections", "delete", "totals", "--yes"]);
    running.fails_with(1, "the projection `totals` is running; disable it");
    assert!(!running.err.contains("Envelope"), "{running:?}");
    assert_eq!(on(&["projections", "disable", "totals"]).code, 0);
    assert_eq!(on(&["projections", "delete", "totals", "--yes"]).code, 0);
    on(&["projections", "state", "totals"]).fails_with(3, "totals");
}

#[test]
fn a_script_that_cannot_run_is_told_with_its_place_when_it_is_created() {
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let on = |arguments: &[&str]| on(&address, arguments);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.js");
    fs::write(&file, "fromAll()\n  .when({ a b })").unwrap();
    let created = on(&["projections", "create", "broken", "--file", path(&file)]);
    created.fails_with(1, "projection:2:");
    assert_eq!(created.error()["code"], "projection-faulted");
    let shown = on(&["projections", "show", "broken"]).objects().remove(0);
    assert_eq!(shown["status"], "Faulted");
    assert!(shown["error"].as_str().unwrap().contains("projection:2:"), "{shown}");
    let listed = on(&["projections", "list"]).objects();
    assert!(listed.contains(&shown), "{listed:?}");
    let state = on(&["projections", "state", "broken"]);
    assert!(state.code == 0 && state.err.contains("has failed"), "{state:?}");
    on(&["projections", "enable", "broken"]).fails_with(1, "was started, and has failed");
    on(&["projections", "show", "other"]).fails_with(3, "other");
}

#[test]
fn a_store_is_scavenged_while_it_is_served_and_the_server_ends_when_it_is_asked_to() {
    let scene = Scene::of_two_orders();
    let (_server, address) = insecure(&scene);
    let on = |arguments: &[&str]| on(&address, arguments);
    on(&["scavenge", "show"]).fails_with(3, "no scavenge was started since");
    let started = on(&["scavenge", "start", "--threshold", "0"]).objects().remove(0);
    let id = started["scavengeId"].as_str().unwrap();
    let last = loop {
        let last = on(&["scavenge", "show"]).objects().remove(0);
        if last["state"] != "running" {
            break last;
        }
    };
    assert_eq!((&last["scavengeId"], &last["state"]), (&id.into(), &"completed".into()));
    assert_eq!(on(&["scavenge", "stop", id]).objects()[0]["scavengeId"], id);
    on(&["scavenge", "stop", "other"]).fails_with(3, "no such scavenge");

    on(&["shutdown"]).fails_with(2, "must be confirmed");
    assert_eq!(on(&["shutdown", "--yes"]).code, 0);
    while on(&["stats"]).code == 0 {}
}

/// A server without users whose backups are in a directory.
fn with_backups(scene: &Scene, backups: &Path) -> (Running, String) {
    let arguments = ["serve", "--json", "--insecure", "--listen", "127.0.0.1:0", "--backups"];
    let mut command = scene.command(&arguments);
    command.arg(backups);
    let server = Running::start(command);
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    (server, started["address"].as_str().unwrap().to_owned())
}

#[test]
fn a_served_store_is_backed_up_and_the_backup_is_restored() {
    let scene = Scene::of_two_orders();
    let directory = TempDir::new().unwrap();
    let (_server, address) = with_backups(&scene, &directory.path().join("backups"));
    let on = |arguments: &[&str]| on(&address, arguments);
    on(&["backup", "show"]).fails_with(3, "no backup was started since");
    assert_eq!(on(&["backup", "list"]).objects(), [] as [Value; 0]);
    on(&["backup", "start", "../outside"]).fails_with(2, "letters, digits");
    let done = on(&["backup", "start", "monday", "--reason", "a&b=c d"]).objects().remove(0);
    assert_eq!((&done["state"], &done["name"]), (&"completed".into(), &"monday".into()));
    assert_eq!(done["bytesDone"], done["bytesTotal"]);
    assert!(done["result"]["bytesCopied"].as_u64().unwrap() > 0, "{done}");
    let listed = on(&["backup", "list"]).objects();
    assert_eq!((listed.len(), &listed[0]["name"]), (1, &"monday".into()));
    assert_eq!(listed[0]["position"], done["result"]["position"]);

    let started = on(&["backup", "start", "monday", "--detach"]).objects().remove(0);
    let again = on(&["backup", "show", "--wait"]).objects().remove(0);
    assert_eq!((&again["id"], &again["state"]), (&started["id"], &"completed".into()));
    let id = again["id"].as_str().unwrap();
    assert_eq!(on(&["backup", "stop", id]).objects()[0]["state"], "completed");
    on(&["backup", "stop", "a/b"]).fails_with(3, "there is no such backup");

    let (backup, restored) =
        (directory.path().join("backups/monday"), directory.path().join("again"));
    assert_eq!(run(program(&["restore", path(&backup), path(&restored)])).code, 0);
    let url = format!("gesta:{}", path(&restored));
    let read = run(program(&["read", "--all", "--json", "--store", &url])).objects();
    assert_eq!(read, scene.run(&["read", "--all", "--json"]).objects());
}

#[test]
fn damage_of_a_served_store_is_printed_and_ends_with_an_exit_code() {
    let scene = Scene::of_two_orders();
    let place = scene.open().locate(Position::new(2)).unwrap();
    let (_server, address) = insecure(&scene);
    let on_server = |arguments: &[&str]| on(&address, arguments);
    on_server(&["verify", "show"]).fails_with(3, "no verification was started since");
    let sound = on_server(&["verify", "start", "--reason", "weekly"]);
    assert_eq!(sound.code, 0, "{sound:?}");
    assert_eq!(sound.objects()[0]["result"]["sound"], true);
    let refused = on_server(&["backup", "start", "monday"]);
    refused.fails_with(2, "start it with `--backups DIRECTORY`");

    change_last_byte(&scene, &place);
    let damaged = on_server(&["verify", "start"]);
    let found: Value = serde_json::from_str(&damaged.out).unwrap();
    assert_eq!((damaged.code, &found["result"]["sound"]), (1, &false.into()), "{damaged:?}");
    let url = format!("kurrentdb://{address}?tls=false");
    let shown = run(program(&["server", "--server", &url, "verify", "show", "--wait"]));
    assert_eq!(shown.code, 1, "{shown:?}");
    for expected in ["state    completed", "\ndamaged: ", "\nDAMAGED in 1 place: "] {
        assert!(shown.out.contains(expected), "{expected}: {shown:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_check() {
    let scene = Scene::of_two_orders();
    let (mut server, address) = insecure(&scene);
    assert_eq!(server.terminate(), Some(0));
    let gone = on(&address, &["stats"]);
    gone.fails_with(2, "cannot connect to");
    assert_eq!(gone.error()["code"], "unreachable");
    run(program(&["server", "stats"])).fails_with(2, "GESTA_SERVER");
    let secret = "kurrentdb://ann:secret@localhost?tsl=false";
    let refused = run(program(&["server", "--server", secret, "stats"]));
    refused.fails_with(2, "no option `tsl`");
    assert!(!refused.err.contains("secret"), "{refused:?}");
    let missing = "kurrentdb://localhost?tlsCaFile=no-such.pem";
    run(program(&["server", "--server", missing, "stats"])).fails_with(2, "no-such.pem");
}
