//! `derive(Schema)`.
//!
//! Owns: schemas of response structs and of enums without fields, named as serde names them. Not
//! here: requests (`derive(RequestFields)`).

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Result};

use crate::fields::{SerdeNames, field_name, named_fields, object, variant_name};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    match &input.data {
        Data::Enum(data) => names(input, data),
        Data::Struct(_) | Data::Union(_) => response(input),
    }
}

fn response(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input, "Schema")?;
    let rule = SerdeNames::of(&input.attrs)?.rename_all;
    let mut listed = Vec::new();
    for field in &fields {
        let names = SerdeNames::of(&field.field.attrs)?;
        if names.skipped {
            continue;
        }
        let name = match names.rename {
            Some(name) => name.value(),
            None => field_name(field.ident, rule.as_ref())?,
        };
        listed.push((name, field));
    }
    object(input, &listed)
}

fn names(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let rule = SerdeNames::of(&input.attrs)?.rename_all;
    let mut names = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            let message = "`Schema` can be derived for enums without fields only; implement it by \
                           hand for this one";
            return Err(Error::new_spanned(variant, message));
        }
        names.push(match SerdeNames::of(&variant.attrs)?.rename {
            Some(name) => name.value(),
            None => variant_name(&variant.ident, rule.as_ref())?,
        });
    }
    let ident = &input.ident;
    // The first one, because any will do.
    let example = match names.first() {
        Some(name) => quote!(::core::option::Option::Some(::gesta_http::__macros::example(#name))),
        None => quote!(::core::option::Option::None),
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::gesta_http::Schema for #ident {
            fn schema(
                _: &mut ::gesta_http::Schemas,
            ) -> ::gesta_http::__macros::serde_json::Value {
                ::gesta_http::__macros::names(&[#(#names),*])
            }

            fn example() -> ::core::option::Option<::gesta_http::__macros::serde_json::Value> {
                #example
            }
        }
    })
}
