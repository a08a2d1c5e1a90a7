//! The files of the console, as they are included.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::{collections::BTreeSet, fs, path::Path};

use gesta_console::{Asset, assets};

/// Returns the paths of all files in a folder, relative to the assets.
fn files(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), &format!("{path}/"), found);
        } else {
            found.insert(path);
        }
    }
}

/// Returns the texts between quotation marks that follow a mark.
fn quoted<'t>(text: &'t str, mark: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(mark).skip(1).filter_map(|rest| rest.split('"').next())
}

fn scripts() -> impl Iterator<Item = Asset> {
    assets().filter(|asset| asset.path.ends_with(".js"))
}

#[test]
fn every_file_is_included_and_every_included_file_is_used() {
    let mut there = BTreeSet::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets"), "", &mut there);
    there.remove("index.html");
    let included: BTreeSet<_> = assets().map(|one| one.path.to_owned()).collect();
    let included: BTreeSet<_> = included.into_iter().filter(|path| !path.is_empty()).collect();
    assert_eq!(there, included);
    assert!(there.len() > 10, "the folder was read: {there:?}");
}

#[test]
fn every_import_is_a_file_of_the_console() {
    let paths: BTreeSet<_> = assets().map(|asset| asset.path).collect();
    let mut imports = 0;
    for script in scripts() {
        let folder = script.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for import in quoted(script.text, "from \"") {
            let path = match (import.strip_prefix("./"), import.strip_prefix("../")) {
                (Some(path), _) if folder.is_empty() => path.to_owned(),
                (Some(path), _) => format!("{folder}/{path}"),
                (None, Some(path)) if !folder.is_empty() => path.to_owned(),
                _ => panic!("{} imports {import}", script.path),
            };
            assert!(paths.contains(path.as_str()), "{} imports {import}", script.path);
            imports += 1;
        }
    }
    assert!(imports > 20, "imports were found: {imports}");
}

#[test]
fn no_script_makes_markup_or_code_of_texts_and_nothing_comes_from_elsewhere() {
    for asset in assets() {
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!asset.text.contains(word), "{} has {word}", asset.path);
        }
        // The icon names the vocabulary of its elements.
        let text = asset.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http:") && !text.contains("https:"), "{}", asset.path);
    }
    let page = assets().next().unwrap().text;
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("onload="));
}

#[test]
fn credentials_are_in_no_storage() {
    let storing = |text: &str| {
        text.contains("localStorage") || text.contains("sessionStorage") || text.contains("cookie")
    };
    let stores: Vec<_> = scripts().filter(|one| storing(one.text)).map(|one| one.path).collect();
    // The theme is stored, and a comment says that the proof is not.
    assert_eq!(stores, ["api.js", "frame.js"]);
    let api = scripts().find(|one| one.path == "api.js").unwrap().text;
    let code = api.lines().filter(|line| !line.trim_start().starts_with("//"));
    assert!(!storing(&code.collect::<String>()));
}
