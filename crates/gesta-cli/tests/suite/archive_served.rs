//! The archive of a store that is served: users and groups stay, and calls name the way back.

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    archive::{begun_or_skip, import},
    scene::Scene,
    serve_securely::{SERVE, status},
    server_verb::Secured,
};

/// A request for the features of the store, with the right password of `admin` or a wrong one.
fn features(secured: &Secured, is_right: bool) -> u16 {
    let passwords = fs::read_to_string(secured.file("passwords")).unwrap();
    let right = passwords.lines().find_map(|line| line.strip_prefix("admin ")).unwrap();
    let password = if is_right { right } else { "wrong-password" };
    let pair = BASE64_STANDARD.encode(format!("admin:{password}"));
    let request =
        format!("/v1/store HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {pair}\r\n");
    status(&secured.address(), secured.certificates.path(), &request, None).unwrap()
}

#[test]
fn a_server_whose_old_events_are_in_files_checks_logins_and_knows_its_groups() {
    let Some((database, scene)) = begun_or_skip() else { return };
    let serve = || database.command(&SERVE);
    let mut secured = Secured::by(serve(), Scene::empty());
    let group = ["groups", "create", "order-1", "mail", "--from-start"];
    assert_eq!(secured.admin(&group).code, 0);
    import(&database, &scene);
    let directory = scene.path().to_str().unwrap();
    let words =
        ["archive", "move", "--before", "1001", "--directory", directory, "--yes", "--json"];
    let moved = database.run(&words).objects().remove(0);
    let kept = ["keptEvents", "keptStreams"].map(|count| moved[count].as_u64().unwrap());
    assert!(kept[0] >= kept[1] && kept[1] >= 4, "users, their list, groups, audit: {moved}");
    secured.restart_by(serve());
    assert_eq!(features(&secured, true), 200);
    assert_eq!(features(&secured, false), 401);
    assert_eq!(secured.admin(&["users", "list"]).objects().len(), 2);
    let listed = secured.admin(&["groups", "list"]).objects();
    assert_eq!(listed[0]["name"], "mail", "{listed:?}");
}

#[test]
fn a_login_whose_events_an_earlier_build_has_archived_is_told_the_way_back_and_no_position() {
    let Some((database, _)) = begun_or_skip() else { return };
    let serve = || database.command(&SERVE);
    let mut secured = Secured::by(serve(), Scene::empty());
    assert_eq!(features(&secured, true), 200);
    database.execute(
        "ALTER TABLE {schema}.events_1 ALTER COLUMN data DROP NOT NULL; \
         UPDATE {schema}.events e SET data = NULL, metadata = NULL FROM {schema}.streams s \
          WHERE s.id = e.stream_id AND s.name = '$user-admin'",
    );
    secured.restart_by(serve());
    for is_right in [true, false] {
        assert_eq!(features(&secured, is_right), 503);
    }
    let refused = secured.admin(&["groups", "list"]);
    refused.fails_with(1, "gesta archive restore");
    assert!(!refused.err.contains("position"), "{refused:?}");
}
