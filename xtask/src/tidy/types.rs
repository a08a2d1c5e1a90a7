//! Public types: those that a list of Rust items declares, and those that a crate exports.

use std::{collections::HashSet, slice};

use syn::{Attribute, Fields, Item, ItemStruct, UseTree, Visibility};

use crate::workspace::{Package, RustFile};

/// A public struct, enum, union, trait or alias.
pub(super) struct PublicType<'a> {
    pub(super) name: String,
    pub(super) attributes: &'a [Attribute],
    pub(super) openness: Openness,
}

/// The ways in which code of other crates may use a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Openness {
    /// An enum: match its variants.
    Variants,
    /// A struct with public fields only: make it from its fields, and take it apart.
    Fields,
    /// Anything else.
    Closed,
}

/// Returns the public types in order, including those of inline modules.
pub(super) fn public_types(items: &[Item]) -> Vec<PublicType<'_>> {
    let mut types = Vec::new();
    for item in items {
        let closed = Openness::Closed;
        let (visibility, name, attributes, openness) = match item {
            Item::Struct(item) => (&item.vis, &item.ident, &item.attrs, openness(item)),
            Item::Enum(item) => (&item.vis, &item.ident, &item.attrs, Openness::Variants),
            Item::Union(item) => (&item.vis, &item.ident, &item.attrs, closed),
            Item::Trait(item) => (&item.vis, &item.ident, &item.attrs, closed),
            Item::Type(item) => (&item.vis, &item.ident, &item.attrs, closed),
            Item::Mod(module) => {
                let inner = module.content.as_ref().map(|(_, items)| public_types(items));
                types.extend(inner.unwrap_or_default());
                continue;
            }
            _ => continue,
        };
        if is_public(visibility) {
            types.push(PublicType { name: name.to_string(), attributes, openness });
        }
    }
    types
}

fn openness(item: &ItemStruct) -> Openness {
    let has_fields = !matches!(item.fields, Fields::Unit) && !item.fields.is_empty();
    let all_public = item.fields.iter().all(|field| is_public(&field.vis));
    if has_fields && all_public { Openness::Fields } else { Openness::Closed }
}

/// Names re-exported by the crate's root, and those in its public modules.
pub(super) fn public_names(files: &[&RustFile], package: &Package) -> HashSet<String> {
    let root = items_of(files, &format!("{}/src/lib.rs", package.folder));
    let mut brought = Brought::default();
    for item in root {
        match item {
            Item::Use(item) if is_public(&item.vis) => brought.add(&item.tree, ""),
            Item::Mod(module) if is_public(&module.vis) => {
                brought.modules.insert(module.ident.to_string());
            }
            _ => {}
        }
    }
    let Brought { mut names, modules } = brought;
    let is_private = |item: &Item| matches!(item, Item::Mod(module) if !is_public(&module.vis));
    let outside = root.iter().filter(|item| !is_private(item));
    names
        .extend(outside.flat_map(|item| public_types(slice::from_ref(item))).map(|each| each.name));
    for module in modules {
        // A module is one of two files; the other one has no items.
        for path in [format!("{module}.rs"), format!("{module}/mod.rs")] {
            let items = items_of(files, &format!("{}/src/{path}", package.folder));
            names.extend(public_types(items).into_iter().map(|each| each.name));
        }
    }
    names
}

fn items_of<'a>(files: &[&'a RustFile], path: &str) -> &'a [Item] {
    files.iter().find(|file| file.path == path).map_or(&[], |file| &file.syntax.items)
}

/// Names and modules brought in by a `use`.
#[derive(Default)]
struct Brought {
    names: HashSet<String>,
    modules: HashSet<String>,
}

impl Brought {
    fn add(&mut self, tree: &UseTree, module: &str) {
        match tree {
            UseTree::Path(path) => self.add(&path.tree, &path.ident.to_string()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add(tree, module)),
            UseTree::Name(name) => drop(self.names.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(self.names.insert(rename.ident.to_string())),
            UseTree::Glob(_) => drop(self.modules.insert(module.to_owned())),
        }
    }
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_public_type_is_seen_and_nothing_private() {
        let file = syn::parse_file(
            "pub struct A; pub enum B {} pub trait C {} pub type D = u8; pub union E { one: u8 }
             mod inner { pub struct F; }
             struct Private; pub(crate) struct Inside; pub fn not_a_type() {}",
        )
        .unwrap();
        let names: String = public_types(&file.items).into_iter().map(|each| each.name).collect();
        assert_eq!(names, "ABCDEF");
    }

    #[test]
    fn a_type_is_open_if_others_may_make_or_match_it() {
        let file = syn::parse_file(
            "pub enum A { B } pub struct C { pub c: u8 } pub struct D { pub d: u8, e: u8 }
             pub struct F(pub u8); pub struct G(u8); pub struct H;",
        )
        .unwrap();
        let types = public_types(&file.items).into_iter().map(|each| each.openness);
        let (variants, fields, closed) = (Openness::Variants, Openness::Fields, Openness::Closed);
        assert_eq!(types.collect::<Vec<_>>(), [variants, fields, closed, fields, closed, closed]);
    }
}
