//! Public types declared by a list of Rust items.

use syn::{Attribute, Item, Visibility};

/// A public struct, enum, union, trait or alias.
pub(super) struct PublicType<'a> {
    pub(super) name: String,
    pub(super) attributes: &'a [Attribute],
}

/// Returns the public types in order, including those of inline modules.
pub(super) fn public_types(items: &[Item]) -> Vec<PublicType<'_>> {
    let mut types = Vec::new();
    for item in items {
        let (visibility, name, attributes) = match item {
            Item::Struct(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Enum(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Union(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Trait(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Type(item) => (&item.vis, &item.ident, &item.attrs),
            Item::Mod(module) => {
                let inner = module.content.as_ref().map(|(_, items)| public_types(items));
                types.extend(inner.unwrap_or_default());
                continue;
            }
            _ => continue,
        };
        if is_public(visibility) {
            types.push(PublicType { name: name.to_string(), attributes });
        }
    }
    types
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
}
