//! `derive(Rejection)`.
//!
//! Owns: the stable code of a struct, or of each variant of an enum.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Data, DeriveInput, Error, LitStr, Result, Variant, spanned::Spanned};

use crate::attributes::{check_name, for_each_entry, required, set_once};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let code = match &input.data {
        Data::Struct(_) => {
            let code = code(&input.attrs, input.ident.span())?;
            quote!(#code)
        }
        Data::Enum(data) => {
            let arms: Vec<TokenStream> = data.variants.iter().map(arm).collect::<Result<_>>()?;
            quote!(match self { #(#arms)* })
        }
        Data::Union(_) => {
            return Err(Error::new(
                input.ident.span(),
                "`Rejection` can be derived for structs and enums only",
            ));
        }
    };
    let ident = &input.ident;
    let (impls, types, clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls ::gesta::Rejection for #ident #types #clause {
            fn code(&self) -> &'static str {
                #code
            }
        }
    })
}

fn arm(variant: &Variant) -> Result<TokenStream> {
    let code = code(&variant.attrs, variant.span())?;
    let ident = &variant.ident;
    Ok(quote!(Self::#ident { .. } => #code,))
}

fn code(attributes: &[Attribute], span: proc_macro2::Span) -> Result<LitStr> {
    let mut code = None;
    for_each_entry(attributes, "rejection", |meta| {
        if !meta.path.is_ident("code") {
            return Err(meta.error("unknown attribute of a rejection; expected `code = \"…\"`"));
        }
        let text: LitStr = meta.value()?.parse()?;
        check_name(&text)?;
        set_once(&mut code, &meta, text)
    })?;
    required(code, span, "the rejection's code: `#[rejection(code = \"not-paid\")]`")
}
