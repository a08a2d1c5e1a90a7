//! What all derives do with attributes.
//!
//! Owns: values that may be given once, required values, names that end up in a store. Not here:
//! which attributes there are.

use proc_macro2::Span;
use syn::{Attribute, Error, LitStr, Result, meta::ParseNestedMeta, spanned::Spanned};

/// The longest name, in bytes: what a store accepts as an event type.
const NAME_BYTES_MAX: usize = 255;

/// Calls `read` for each entry of `#[path(…)]`, over all attributes of that name.
pub(crate) fn for_each_entry(
    attributes: &[Attribute],
    path: &str,
    mut read: impl FnMut(ParseNestedMeta) -> Result<()>,
) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(path)) {
        attribute.parse_nested_meta(&mut read)?;
    }
    Ok(())
}

/// Puts a value where none may be yet.
pub(crate) fn set_once<T>(slot: &mut Option<T>, meta: &ParseNestedMeta, value: T) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error("given twice"));
    }
    *slot = Some(value);
    Ok(())
}

/// The value, or an error that shows what is missing.
pub(crate) fn required<T>(value: Option<T>, span: Span, example: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(span, format!("missing {example}")))
}

/// Refuses names that no store would accept.
pub(crate) fn check_name(name: &LitStr) -> Result<()> {
    let text = name.value();
    if text.is_empty() {
        return Err(Error::new(name.span(), "a name is not empty"));
    }
    if text.len() > NAME_BYTES_MAX {
        let message = format!("a name has at most {NAME_BYTES_MAX} bytes, this has {}", text.len());
        return Err(Error::new(name.span(), message));
    }
    if text.contains('\0') {
        return Err(Error::new(name.span(), "a name has no zero byte"));
    }
    Ok(())
}

/// The tokens of the attributes that change how serde writes a type, in one line.
pub(crate) fn serde_tokens(attributes: &[Attribute]) -> String {
    let serde = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    let texts = serde.map(|attribute| compact(&attribute.meta));
    texts.map(|text| format!("#[{text}] ")).collect()
}

/// Tokens as a text that does not depend on how the source is laid out.
pub(crate) fn compact(tokens: &impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}

/// The span of the first attribute of that name, else of the fallback.
pub(crate) fn attribute_span(attributes: &[Attribute], path: &str, fallback: Span) -> Span {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident(path));
    attribute.map_or(fallback, Spanned::span)
}
