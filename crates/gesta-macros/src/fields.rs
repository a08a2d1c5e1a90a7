//! Named fields of requests and responses, as JSON and the OpenAPI document show them.
//!
//! Owns: the names by serde's attributes, and the descriptions by doc comments. Shared by
//! `derive(RequestFields)` and `derive(Schema)`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, Ident, Lit, LitStr, Meta,
    Result, Token, Type, meta::ParseNestedMeta, parenthesized, punctuated::Punctuated, token,
};

use crate::attributes::{for_each_entry, set_once};

/// A field of a struct that is an object in JSON.
pub(crate) struct NamedField<'i> {
    pub(crate) ident: &'i Ident,
    pub(crate) ty: &'i Type,
    pub(crate) field: &'i Field,
}

/// Returns the fields of a struct, or an error for any other type.
pub(crate) fn named_fields<'i>(
    input: &'i DeriveInput,
    derive: &str,
) -> Result<Vec<NamedField<'i>>> {
    let fields = match &input.data {
        Data::Struct(data) => Some(&data.fields),
        Data::Enum(_) | Data::Union(_) => None,
    };
    let Some(Fields::Named(fields)) = fields else {
        let message = format!("`{derive}` can be derived for structs with named fields only");
        return Err(Error::new(input.ident.span(), message));
    };
    if !input.generics.params.is_empty() {
        let message =
            format!("`{derive}` can be derived for types without generic parameters only");
        return Err(Error::new(input.ident.span(), message));
    }
    let named =
        |field: &'i Field| Some(NamedField { ident: field.ident.as_ref()?, ty: &field.ty, field });
    Ok(fields.named.iter().filter_map(named).collect())
}

/// The serde attributes that decide on names.
#[derive(Default)]
pub(crate) struct SerdeNames {
    pub(crate) rename: Option<LitStr>,
    pub(crate) rename_all: Option<LitStr>,
    /// `true` if the field is not serialized.
    pub(crate) skipped: bool,
}

impl SerdeNames {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut names = Self::default();
        for_each_entry(attributes, "serde", |meta| {
            let is_value = meta.input.peek(Token![=]);
            if meta.path.is_ident("rename") && is_value {
                names.rename = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("rename_all") && is_value {
                names.rename_all = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("flatten") {
                return Err(meta.error("a schema cannot have flattened fields; write them out"));
            } else {
                names.skipped |=
                    meta.path.is_ident("skip") || meta.path.is_ident("skip_serializing");
                skip_value(&meta)?;
            }
            Ok(())
        })?;
        Ok(names)
    }
}

pub(crate) fn skip_value(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        let _: Expr = meta.value()?.parse()?;
    } else if meta.input.peek(token::Paren) {
        let content;
        parenthesized!(content in meta.input);
        let _: TokenStream = content.parse()?;
    }
    Ok(())
}

/// Returns the name in JSON of a field, by the rule of its struct.
pub(crate) fn field_name(ident: &Ident, rule: Option<&LitStr>) -> Result<String> {
    let name = ident.to_string();
    let name = name.trim_start_matches("r#");
    match rule {
        None => Ok(name.to_owned()),
        Some(rule) if rule.value() == "camelCase" => Ok(camel_case(name)),
        Some(rule) => Err(Error::new(
            rule.span(),
            "a schema's fields are named as in Rust, or in `camelCase`",
        )),
    }
}

/// Returns the name in JSON of a unit variant, by the rule of its enum.
pub(crate) fn variant_name(ident: &Ident, rule: Option<&LitStr>) -> Result<String> {
    let name = ident.to_string();
    let separated = |separator: char| {
        let mut text = String::new();
        for (place, letter) in name.char_indices() {
            if letter.is_ascii_uppercase() && place > 0 {
                text.push(separator);
            }
            text.push(letter.to_ascii_lowercase());
        }
        text
    };
    match rule.map(LitStr::value).as_deref() {
        None => Ok(name),
        Some("camelCase") => Ok(camel_case(&separated('_'))),
        Some("kebab-case") => Ok(separated('-')),
        Some("snake_case") => Ok(separated('_')),
        Some("lowercase") => Ok(name.to_lowercase()),
        Some(_) => Err(Error::new(
            ident.span(),
            "a schema's variants are named as in Rust, or in `camelCase`, `kebab-case`, \
             `snake_case` or `lowercase`",
        )),
    }
}

/// Converts `first_name` to `firstName`, like serde.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

/// Returns the doc comment as one line.
pub(crate) fn description(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let Meta::NameValue(line) = &attribute.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &line.value
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines.join(" ")
}

/// Returns the implementations of `Fields` and `Schema` for fields with these names.
pub(crate) fn object(
    input: &DeriveInput,
    fields: &[(String, &NamedField<'_>)],
) -> Result<TokenStream> {
    let ident = &input.ident;
    let name = ident.to_string();
    let about = description(&input.attrs);
    let fields = fields.iter().map(|(name, NamedField { ty, field, .. })| {
        let about = description(&field.attrs);
        let example = example(field)?;
        Ok(quote!(::gesta_http::Field::named::<#ty>(#name, #about, schemas) #example))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    Ok(quote! {
        #[automatically_derived]
        impl ::gesta_http::Fields for #ident {
            const NAME: &'static str = #name;
            const DESCRIPTION: &'static str = #about;

            fn fields(
                schemas: &mut ::gesta_http::Schemas,
            ) -> ::std::vec::Vec<::gesta_http::Field> {
                let _ = &schemas;
                ::std::vec![#(#fields),*]
            }
        }

        #[automatically_derived]
        impl ::gesta_http::Schema for #ident {
            fn schema(
                schemas: &mut ::gesta_http::Schemas,
            ) -> ::gesta_http::__macros::serde_json::Value {
                schemas.object::<#ident>()
            }

            fn example() -> ::core::option::Option<::gesta_http::__macros::serde_json::Value> {
                <#ident as ::gesta_http::Fields>::example_object()
            }
        }
    })
}

/// Returns the call that sets a field's example, by `#[request(example = …)]`: a value, or that of
/// the field's type.
fn example(field: &Field) -> Result<TokenStream> {
    let mut call = None;
    for_each_entry(&field.attrs, "request", |meta| {
        if !meta.path.is_ident("example") {
            return skip_value(&meta);
        }
        let ty = &field.ty;
        let example = if meta.input.peek(Token![=]) {
            let value: Expr = meta.value()?.parse()?;
            quote!(.with_example(::gesta_http::__macros::example(#value)))
        } else {
            quote!(.with_example_of::<#ty>())
        };
        set_once(&mut call, &meta, example)
    })?;
    Ok(call.unwrap_or_default())
}

/// Parses `(a, b, …)`.
pub(crate) fn idents(meta: &ParseNestedMeta<'_>) -> Result<Vec<Ident>> {
    let content;
    parenthesized!(content in meta.input);
    Ok(Punctuated::<Ident, Token![,]>::parse_terminated(&content)?.into_iter().collect())
}
