//! The commands of the README.

use std::{env, fs, path::Path, process::Command};

use crate::scene::{Scene, run};

const README: &str = include_str!("../../README.md");

#[test]
fn the_readme_s_example_runs_as_it_stands() {
    let (_, example) = README.split_once("\n## Example\n\n```sh\n").unwrap();
    let (commands, _) = example.split_once("```").unwrap();
    let scene = Scene::empty();
    let programs = Path::new(env!("CARGO_BIN_EXE_gesta")).parent().unwrap();
    let path = env::join_paths(
        [programs.to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let mut shell = Command::new("sh");
    shell.args(["-euc", commands]).current_dir(scene.path()).env("PATH", path.unwrap());
    let output = run(shell);
    let shown = output.stdout();
    assert!(shown.contains("order-placed"), "{shown}");
    assert!(shown.contains("restored up to position 1"), "{shown}");
    assert!(fs::read_dir(scene.path().join("orders-again")).unwrap().next().is_some());
}
