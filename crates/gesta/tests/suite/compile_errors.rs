//! Compile errors of the derives, for the mistakes that people make.
//!
//! Each file in `tests/ui` makes one mistake. Below the line of an error, `//~ ERROR` states its
//! message and `//~ NOTE` one of its notes, each continued by further `//~` lines. The file must
//! have exactly these errors. The rest of rustc's rendering is not compared, since it changes with
//! its version.
//!
//! rustc is called directly, against the library that this binary was built with. `trybuild` would
//! check gesta and its dependencies once more in a directory of its own: 88 s of processor time
//! from cold (0.6 s warm), where these calls take 2.5 s in any case.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use serde_json::Value;
use tempfile::TempDir;

/// An error with its line, or a note of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    line: u64,
    text: String,
}

/// rustc with the libraries that a user's program has.
struct Compiler {
    dependencies: PathBuf,
    gesta: PathBuf,
    serde: PathBuf,
    out: TempDir,
}

impl Compiler {
    /// Finds the libraries next to this binary.
    ///
    /// The directory may have several of each: of other features, profiles or earlier versions.
    /// Cargo has just made sure that one gesta is up to date, so the newest is: one that was built
    /// later was built from the same sources. Only the serde that gesta itself uses compiles the
    /// valid program.
    fn find() -> Self {
        let binary = env::current_exe().unwrap();
        let dependencies = binary.parent().unwrap().to_owned();
        let gesta = newest_first(&dependencies, "libgesta-").into_iter().next();
        let gesta = gesta.expect("cargo has built the library for this binary");
        let out = tempfile::tempdir().unwrap();
        let mut compiler = Self { dependencies, gesta, serde: PathBuf::new(), out };
        let mut errors = Vec::new();
        for serde in newest_first(&compiler.dependencies, "libserde-") {
            compiler.serde = serde;
            errors = compiler.errors(Path::new("tests/ui/valid.rs"));
            if errors.is_empty() {
                return compiler;
            }
        }
        panic!("tests/ui/valid.rs does not compile: {errors:#?}");
    }

    /// Compiles a file and returns rustc's errors.
    fn errors(&self, file: &Path) -> Vec<Value> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let library = |name: &str, path: &Path| format!("{name}={}", path.display());
        let compiled = Command::new(rustc)
            .args(["--edition=2024", "--crate-type=lib", "--crate-name=ui", "--emit=metadata"])
            .args(["--error-format=json", "--cap-lints=allow", "--out-dir"])
            .arg(self.out.path())
            .args(["--extern", &library("gesta", &self.gesta)])
            .args(["--extern", &library("serde", &self.serde)])
            .args(["-L", &library("dependency", &self.dependencies)])
            .arg(file)
            .output()
            .unwrap();
        let text = String::from_utf8(compiled.stderr).unwrap();
        let messages = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        // The last error only counts the others.
        messages.filter(|message| message["level"] == "error" && !is_summary(message)).collect()
    }
}

fn is_summary(message: &Value) -> bool {
    message["message"].as_str().is_some_and(|text| text.starts_with("aborting due to"))
}

/// Returns the libraries whose file names begin with `prefix`, newest first.
fn newest_first(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(prefix) && name.ends_with(".rlib") {
            found.push((entry.metadata().unwrap().modified().unwrap(), entry.path()));
        }
    }
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Returns the line of a message's primary span, or 0 for a message about the whole file.
fn line_of(message: &Value) -> u64 {
    let spans = message["spans"].as_array().unwrap();
    let primary = spans.iter().find(|span| span["is_primary"] == true);
    primary.and_then(|span| span["line_start"].as_u64()).unwrap_or(0)
}

/// The expected errors and notes of a file.
#[derive(Default)]
struct Expected {
    errors: Vec<Message>,
    notes: Vec<Message>,
}

impl Expected {
    fn read(file: &Path) -> Self {
        let mut expected = Self::default();
        let (mut line, mut is_error) = (0, false);
        for (number, text) in (1..).zip(fs::read_to_string(file).unwrap().lines()) {
            let Some(text) = text.trim().strip_prefix("//~ ") else {
                line = number;
                continue;
            };
            let message = |text: &str| Message { line, text: text.to_owned() };
            if let Some(text) = text.strip_prefix("ERROR ") {
                is_error = true;
                expected.errors.push(message(text));
            } else if let Some(text) = text.strip_prefix("NOTE ") {
                is_error = false;
                expected.notes.push(message(text));
            } else {
                let kind = if is_error { &mut expected.errors } else { &mut expected.notes };
                let continued = kind.last_mut().expect("a continuation follows a message");
                continued.text = format!("{} {text}", continued.text);
            }
        }
        expected
    }
}

#[test]
fn a_mistake_is_named_where_it_was_made_with_what_to_write() {
    let compiler = Compiler::find();
    let mut mistakes = 0;
    for entry in fs::read_dir("tests/ui").unwrap() {
        let file = entry.unwrap().path();
        let Expected { errors, notes } = Expected::read(&file);
        let (mut found, mut found_notes) = (Vec::new(), Vec::new());
        for error in compiler.errors(&file) {
            let line = line_of(&error);
            let message = |message: &Value| Message {
                line,
                // The compiler names the path if a dependency has a type of this name, too.
                text: message["message"].as_str().unwrap().replace("std::string::String", "String"),
            };
            found_notes.extend(error["children"].as_array().unwrap().iter().map(message));
            found.push(message(&error));
        }
        // Several bounds may name one mistake in one place.
        found.sort();
        found.dedup();
        assert_eq!(found, errors, "{}, notes: {found_notes:#?}", file.display());
        for note in notes {
            assert!(found_notes.contains(&note), "{}: {note:?}: {found_notes:#?}", file.display());
        }
        mistakes += usize::from(!errors.is_empty());
    }
    assert!(mistakes >= 16, "found files with {mistakes} mistakes");
}
