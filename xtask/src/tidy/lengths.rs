//! Functions and files are short. Exceptions are listed with their length and a reason.
//!
//! Owns: the limits, and `xtask/ratchet.txt` with the exceptions. Invariants: exceptions only
//! shrink; a length above the listed one fails, and one below it fails until the list is updated.

use std::{collections::BTreeMap, iter};

use syn::{
    Block, ImplItemFn, ItemFn, ItemImpl, Signature, TraitItemFn, Type,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::{
    tidy::Finding,
    workspace::{RustFile, Workspace},
};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const RATCHET: &str = "xtask/ratchet.txt";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let ratchet = workspace.texts.iter().find(|text| text.path == RATCHET);
    let mut findings = Vec::new();
    let mut listed = BTreeMap::new();
    let lines = ratchet.into_iter().flat_map(|ratchet| ratchet.text.lines());
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match exception(line) {
            Some((what, length)) => drop(listed.insert(what, length)),
            None => findings.push(Finding::new(RATCHET, format!("cannot be read: {line}"))),
        }
    }
    for (what, length) in workspace.rust.iter().flat_map(too_long) {
        findings.extend(compare(&what, length, listed.remove(&what)));
    }
    // Entries that are left belong to functions that became short or are gone.
    findings.extend(listed.keys().map(|what| {
        Finding::new(RATCHET, format!("{what} is no longer too long: tighten the list"))
    }));
    findings
}

fn compare(what: &str, length: usize, listed: Option<usize>) -> Option<Finding> {
    let finding = match listed {
        None => format!("{length} lines: shorten it, or list it with a reason in {RATCHET}"),
        Some(listed) if length > listed => format!("{length} lines, {listed} are listed"),
        Some(listed) if length < listed => {
            format!("{length} lines, {listed} are listed: tighten the list")
        }
        Some(_) => return None,
    };
    Some(Finding::new(what, finding))
}

/// Parses `path[ function] LENGTH: reason`.
fn exception(line: &str) -> Option<(String, usize)> {
    let (entry, reason) = line.split_once(": ")?;
    let (what, length) = entry.rsplit_once(' ')?;
    let length = length.parse().ok()?;
    (!reason.trim().is_empty()).then(|| (what.to_owned(), length))
}

/// Returns the file and its functions above the limits, named as in the list.
fn too_long(file: &RustFile) -> Vec<(String, usize)> {
    let lines = file.text.lines().count();
    let long_file = (lines > FILE_LINES_MAX).then(|| (file.path.clone(), lines));
    let mut functions = Functions::default();
    functions.visit_file(&file.syntax);
    let long = functions.lengths.into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    let named = long.map(|(name, lines)| (format!("{} {name}", file.path), lines));
    iter::empty().chain(long_file).chain(named).collect()
}

/// Longest function of each name, measured from its signature to its closing brace.
#[derive(Default)]
struct Functions {
    implementing: Option<String>,
    lengths: BTreeMap<String, usize>,
}

impl Functions {
    fn add(&mut self, signature: &Signature, body: &Block) {
        let lines = body.span().end().line - signature.span().start().line + 1;
        let name = match &self.implementing {
            Some(implementing) => format!("{implementing}::{}", signature.ident),
            None => signature.ident.to_string(),
        };
        let longest = self.lengths.entry(name).or_default();
        // Functions of the same name, such as methods of several types, share an entry.
        *longest = lines.max(*longest);
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        // Impl blocks may be nested in functions.
        let outer = self.implementing.take();
        self.implementing = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        visit::visit_item_impl(self, item);
        self.implementing = outer;
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.add(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/one/src/lib.rs";

    fn findings(text: &str, ratchet: &str) -> Vec<String> {
        let workspace = Workspace::of(&[(PATH, text), (RATCHET, ratchet)]);
        check(&workspace).iter().map(ToString::to_string).collect()
    }

    /// A function with this number of lines.
    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_as_long_as_the_limit_is_in_order() {
        assert_eq!(findings(&function(FUNCTION_LINES_MAX), ""), [""; 0]);
    }

    #[test]
    fn a_longer_function_is_found_wherever_it_stands() {
        let long = function(71);
        for (text, name) in [
            (long.clone(), "long"),
            (format!("impl Store {{ {long} }}"), "Store::long"),
            (format!("trait Store {{ {long} }}"), "long"),
            (format!("mod inner {{ {long} }}"), "long"),
        ] {
            let found = findings(&text, "");
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].starts_with(&format!("{PATH} {name}: 71 lines")), "{found:?}");
        }
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(findings(&"// one\n".repeat(FILE_LINES_MAX), ""), [""; 0]);
        assert_eq!(findings(&"// one\n".repeat(FILE_LINES_MAX + 1), "").len(), 1);
    }

    #[test]
    fn what_is_listed_with_its_length_is_in_order() {
        let listed = format!("# comment\n{PATH} long 71: one table, read top to bottom\n");
        assert_eq!(findings(&function(71), &listed), [""; 0]);
    }

    #[test]
    fn the_list_only_tightens() {
        let listed = format!("{PATH} long 75: one table\n");
        assert!(findings(&function(76), &listed)[0].ends_with("76 lines, 75 are listed"));
        assert!(findings(&function(74), &listed)[0].ends_with("tighten the list"));
        assert!(findings(&function(70), &listed)[0].ends_with("tighten the list"));
    }

    #[test]
    fn an_exception_needs_a_reason() {
        for line in [format!("{PATH} long 71"), format!("{PATH} long 71:  "), "x: y".to_owned()] {
            assert!(findings("", &line)[0].contains("cannot be read"), "{line}");
        }
    }
}
