//! The definitions of the protocol, which this crate and the server each have.

use std::{fs, path::Path};

#[test]
fn client_and_server_have_the_same_definitions() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gesta-server/proto");
    let mut compared = 0;
    for file in fs::read_dir(here).unwrap() {
        let file = file.unwrap();
        let ours = fs::read_to_string(file.path()).unwrap();
        let theirs = fs::read_to_string(there.join(file.file_name())).unwrap();
        assert_eq!(ours, theirs, "{}", file.file_name().display());
        compared += 1;
    }
    assert!(compared >= 8, "{compared} files");
}
