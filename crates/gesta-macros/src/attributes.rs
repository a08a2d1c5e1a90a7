//! Attribute parsing shared by all derives.
//!
//! Owns: values that may be given once, required values, validation of stored names. Not here: the
//! attributes of each derive.

use proc_macro2::Span;
use syn::{Attribute, Error, LitStr, Result, meta::ParseNestedMeta, spanned::Spanned};

/// Maximum length of a name, in bytes: the stores' limit for an event type.
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

/// Sets a value, or fails if it is set already.
pub(crate) fn set_once<T>(slot: &mut Option<T>, meta: &ParseNestedMeta, value: T) -> Result<()> {
    if slot.is_some() {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        return Err(meta.error(format!("`{name}` is given twice; remove one")));
    }
    *slot = Some(value);
    Ok(())
}

/// Returns the value, or an error with an example of the missing attribute.
pub(crate) fn required<T>(value: Option<T>, span: Span, missing: &str) -> Result<T> {
    value.ok_or_else(|| Error::new(span, format!("missing {missing}")))
}

/// Checks that stores accept a name.
pub(crate) fn check_name(name: &LitStr) -> Result<()> {
    let text = name.value();
    if text.is_empty() {
        return Err(Error::new(name.span(), "a name must not be empty"));
    }
    if text.len() > NAME_BYTES_MAX {
        let message =
            format!("a name must have at most {NAME_BYTES_MAX} bytes; got {}", text.len());
        return Err(Error::new(name.span(), message));
    }
    if text.contains('\0') {
        return Err(Error::new(name.span(), "a name must not contain a zero byte"));
    }
    Ok(())
}

/// Returns the `#[serde(…)]` attributes on one line: they change the JSON of a type.
pub(crate) fn serde_tokens(attributes: &[Attribute]) -> String {
    let serde = attributes.iter().filter(|attribute| attribute.path().is_ident("serde"));
    let texts = serde.map(|attribute| compact(&attribute.meta));
    texts.map(|text| format!("#[{text}] ")).collect()
}

/// Returns tokens as a text that does not depend on the source's formatting.
pub(crate) fn compact(tokens: &impl quote::ToTokens) -> String {
    tokens.to_token_stream().to_string().replace(' ', "")
}

/// Returns the span of the first attribute of a name, or the fallback.
pub(crate) fn attribute_span(attributes: &[Attribute], path: &str, fallback: Span) -> Span {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident(path));
    attribute.map_or(fallback, Spanned::span)
}
