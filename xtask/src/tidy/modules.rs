//! The graph of a crate's modules: which file uses items of which other file.
//!
//! A path is followed through re-exports to the file that defines the item, so that a facade
//! (`pub use child::Item` in `mod.rs`) hides no edge. Re-exporting a child is not a use of it.
//!
//! Not here: modules that exist only in test builds, and macros by their bare names.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, Visibility};

use crate::workspace::{Package, RustFile, Workspace};

/// A module's path from the crate root; the root is empty.
pub(super) type ModulePath = Vec<String>;

/// Re-exports that are followed from one file to the next, at most.
const RE_EXPORTS_MAX: usize = 8;
/// Cfg predicates of modules that only test builds contain.
const TEST_CFGS: [&str; 4] = ["test", "gesta_planted", "gesta_shuttle", "fuzzing"];

/// The files of a crate and their uses of each other.
pub(super) struct ModuleGraph {
    pub(super) uses: BTreeMap<ModulePath, BTreeSet<ModulePath>>,
}

/// One file's imports and paths.
#[derive(Default)]
struct ModuleFile {
    /// Absolute path of each imported item, by the name it has here.
    imports: BTreeMap<String, ModulePath>,
    /// Absolute paths in the file. True marks a re-export.
    paths: Vec<(ModulePath, bool)>,
    /// Child modules of test builds.
    test_children: BTreeSet<String>,
}

impl ModuleGraph {
    pub(super) fn of(workspace: &Workspace, package: &Package) -> Self {
        let sources = format!("{}/src/", package.folder);
        let mut files: BTreeMap<ModulePath, ModuleFile> = BTreeMap::new();
        let known: Vec<(ModulePath, &RustFile)> = workspace
            .sources_of(package)
            .map(|file| (module_path(file.path.trim_start_matches(&sources)), file))
            .collect();
        let modules: BTreeSet<ModulePath> = known.iter().map(|(path, _)| path.clone()).collect();
        for (path, file) in known {
            let mut module = ModuleFile::default();
            module.read(&path, &modules, &file.syntax.items);
            files.insert(path, module);
        }
        remove_test_modules(&mut files);
        let uses = files.keys().map(|path| (path.clone(), uses_of(&files, path))).collect();
        Self { uses }
    }

    /// Groups of modules that use each other in a circle, each sorted.
    pub(super) fn circles(&self) -> Vec<Vec<ModulePath>> {
        let reach: BTreeMap<_, _> = self.uses.keys().map(|path| (path, self.reach(path))).collect();
        let mut circles = BTreeSet::new();
        for (path, reached) in &reach {
            let circle: Vec<ModulePath> = reached
                .iter()
                .filter(|other| reach.get(other).is_some_and(|back| back.contains(*path)))
                .cloned()
                .collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    /// All modules that a module uses, directly or not. Contains itself if it is in a circle.
    fn reach(&self, from: &ModulePath) -> BTreeSet<ModulePath> {
        let mut reached = BTreeSet::new();
        let mut left: Vec<_> = self.uses.get(from).into_iter().flatten().collect();
        while let Some(next) = left.pop() {
            if reached.insert(next.clone()) {
                left.extend(self.uses.get(next).into_iter().flatten());
            }
        }
        reached
    }
}

fn module_path(file: &str) -> ModulePath {
    let mut parts: ModulePath =
        file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

fn remove_test_modules(files: &mut BTreeMap<ModulePath, ModuleFile>) {
    let tests: Vec<ModulePath> = files
        .iter()
        .flat_map(|(path, file)| file.test_children.iter().map(|child| joined(path, child)))
        .collect();
    files.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
}

fn uses_of(files: &BTreeMap<ModulePath, ModuleFile>, path: &ModulePath) -> BTreeSet<ModulePath> {
    let Some(file) = files.get(path) else { return BTreeSet::new() };
    file.paths
        .iter()
        .filter_map(|(used, is_re_export)| {
            let target = definer(files, used.clone())?;
            let own_child = *is_re_export && target.starts_with(path);
            (target != *path && !own_child).then_some(target)
        })
        .collect()
}

/// The file that defines the item at an absolute path.
fn definer(files: &BTreeMap<ModulePath, ModuleFile>, mut path: ModulePath) -> Option<ModulePath> {
    for _ in 0..RE_EXPORTS_MAX {
        let (module, rest) = (0..=path.len())
            .rev()
            .filter_map(|n| path.split_at_checked(n))
            .find(|(module, _)| files.contains_key(*module))?;
        let import = rest.first().and_then(|name| files.get(module)?.imports.get(name));
        match import.filter(|import| **import != path) {
            Some(import) => path = import.iter().chain(rest.iter().skip(1)).cloned().collect(),
            None => return Some(module.to_vec()),
        }
    }
    None
}

fn joined(path: &[String], child: &str) -> ModulePath {
    path.iter().cloned().chain([child.to_owned()]).collect()
}

impl ModuleFile {
    fn read(&mut self, own: &[String], modules: &BTreeSet<ModulePath>, items: &[Item]) {
        for item in items {
            match item {
                Item::Use(item) => {
                    let re_export = !matches!(item.vis, Visibility::Inherited);
                    let mut leaves = Vec::new();
                    leaves_of(&item.tree, &mut Vec::new(), &mut leaves);
                    for (path, name) in leaves {
                        if let Some(path) = absolute(own, modules, &path) {
                            self.imports.insert(name, path.clone());
                            self.paths.push((path, re_export));
                        }
                    }
                }
                Item::Mod(module) if is_for_tests(&module.attrs) => {
                    self.test_children.insert(module.ident.to_string());
                }
                Item::Mod(module) if module.content.is_none() => {}
                item => self.read_tokens(own, modules, quote::ToTokens::to_token_stream(item)),
            }
        }
    }

    /// Collects paths that begin with `crate`, `super` or `self` from an item's tokens.
    fn read_tokens(&mut self, own: &[String], modules: &BTreeSet<ModulePath>, from: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in from {
            match token {
                TokenTree::Ident(ident) if path.is_empty() || colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1
                }
                other => {
                    self.add(own, modules, &path);
                    path.clear();
                    colons = 0;
                    match other {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) if !is_visibility(&group.stream()) => {
                            self.read_tokens(own, modules, group.stream());
                        }
                        TokenTree::Group(_) => {}
                        TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                    }
                }
            }
        }
        self.add(own, modules, &path);
    }

    fn add(&mut self, own: &[String], modules: &BTreeSet<ModulePath>, path: &[String]) {
        if path.len() > 1
            && let Some(path) = absolute(own, modules, path)
        {
            self.paths.push((path, false));
        }
    }
}

/// Returns whether tokens are the scope of a `pub(in …)`, which names a module without using it.
fn is_visibility(tokens: &TokenStream) -> bool {
    let first = tokens.clone().into_iter().next();
    matches!(first, Some(TokenTree::Ident(ident)) if ident == "in")
}

/// The leaves of a `use` tree: path and local name.
fn leaves_of(tree: &UseTree, before: &mut Vec<String>, leaves: &mut Vec<(ModulePath, String)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            leaves_of(&path.tree, before, leaves);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaves.push((before.clone(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => {
            leaves.push((joined(before, &name.ident.to_string()), name.ident.to_string()));
        }
        UseTree::Rename(rename) => {
            leaves.push((joined(before, &rename.ident.to_string()), rename.rename.to_string()));
        }
        UseTree::Glob(_) => leaves.push((before.clone(), "*".to_owned())),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| leaves_of(tree, before, leaves));
        }
    }
}

/// A path from the crate root, or `None` if it leads out of the crate.
fn absolute(own: &[String], modules: &BTreeSet<ModulePath>, path: &[String]) -> Option<ModulePath> {
    match path.first()?.as_str() {
        "crate" => Some(path.iter().skip(1).cloned().collect()),
        "self" => Some(own.iter().chain(path.iter().skip(1)).cloned().collect()),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            let base = own.get(..own.len().checked_sub(up)?)?;
            Some(base.iter().chain(path.iter().skip(up)).cloned().collect())
        }
        child if modules.contains(&joined(own, child)) => {
            Some(own.iter().chain(path).cloned().collect())
        }
        _ => None,
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let predicate = list.tokens.to_string();
        list.path.is_ident("cfg")
            && !predicate.contains("not")
            && TEST_CFGS.iter().any(|cfg| {
                predicate.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == *cfg)
            })
    })
}
