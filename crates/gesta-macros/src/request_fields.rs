//! `derive(RequestFields)`.
//!
//! Owns: strict reading of a request's body or parameters, its schema, and its conversion into a
//! command or another value. Not here: responses (`derive(Schema)`).

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Attribute, DeriveInput, GenericArgument, Ident, LitStr, Path, PathArguments, Result, Token,
    Type, parenthesized,
};

use crate::{
    attributes::{for_each_entry, set_once},
    fields::{NamedField, SerdeNames, field_name, idents, named_fields, object, skip_value},
};

/// The entries of `#[request(…)]` on the struct.
#[derive(Default)]
struct RequestHeader {
    command: Option<Path>,
    into: Option<Path>,
    path: Option<(Ident, Type)>,
    defaults: Vec<Ident>,
    own_schema: bool,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input, "RequestFields")?;
    let header = header(input)?;
    let reading = reading(input, &fields);
    let schema = if header.own_schema { None } else { Some(schema(input, &fields)?) };
    let command = header.command.as_ref().map(|to| command(input, &fields, &header, to));
    let command = command.transpose()?;
    let conversion = header.into.as_ref().map(|to| conversion(input, &fields, to));
    Ok(quote!(#reading #schema #command #conversion))
}

fn header(input: &DeriveInput) -> Result<RequestHeader> {
    let mut header = RequestHeader::default();
    for_each_entry(&input.attrs, "request", |meta| {
        if meta.path.is_ident("command") {
            let path: Path = meta.value()?.parse()?;
            return set_once(&mut header.command, &meta, path);
        }
        if meta.path.is_ident("into") {
            let path: Path = meta.value()?.parse()?;
            return set_once(&mut header.into, &meta, path);
        }
        if meta.path.is_ident("path") {
            let content;
            parenthesized!(content in meta.input);
            let field = content.parse()?;
            content.parse::<Token![:]>()?;
            let path = (field, content.parse()?);
            return set_once(&mut header.path, &meta, path);
        }
        if meta.path.is_ident("default") {
            header.defaults.extend(idents(&meta)?);
            return Ok(());
        }
        if meta.path.is_ident("own_schema") {
            header.own_schema = true;
            return Ok(());
        }
        Err(meta.error(
            "unknown attribute of a request; expected `command = Command`, `path(field: Type)`, \
             `default(field)`, `into = Type` or `own_schema`",
        ))
    })?;
    Ok(header)
}

/// Returns the implementation of `Deserialize`: from objects only, in camelCase, without unknown
/// fields.
fn reading(input: &DeriveInput, fields: &[NamedField<'_>]) -> TokenStream {
    let ident = &input.ident;
    let name = LitStr::new(&ident.to_string(), ident.span());
    let fields = fields.iter().map(|NamedField { ident, ty, field }| {
        let serde = field.attrs.iter().filter(|attribute| is_serde(attribute));
        quote!(#(#serde)* #ident: #ty)
    });
    // serde generates the code for a copy of the struct, which builds the struct itself.
    quote! {
        const _: () = {
            #[derive(::gesta_http::__macros::serde::Deserialize)]
            #[serde(crate = "::gesta_http::__macros::serde", remote = #name, rename = #name)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            struct RemoteFields {
                #(#fields,)*
            }

            #[automatically_derived]
            impl<'de> ::gesta_http::__macros::serde::Deserialize<'de> for #ident {
                fn deserialize<D: ::gesta_http::__macros::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    RemoteFields::deserialize(::gesta_http::ObjectOnly(deserializer))
                }
            }
        };
    }
}

fn is_serde(attribute: &Attribute) -> bool {
    attribute.path().is_ident("serde")
}

fn schema(input: &DeriveInput, fields: &[NamedField<'_>]) -> Result<TokenStream> {
    let rule = LitStr::new("camelCase", input.ident.span());
    let mut listed = Vec::new();
    for field in fields {
        let name = match SerdeNames::of(&field.field.attrs)?.rename {
            Some(name) => name.value(),
            None => field_name(field.ident, Some(&rule))?,
        };
        listed.push((name, field));
    }
    object(input, &listed)
}

/// Returns the function that makes a command from the request.
fn command(
    input: &DeriveInput,
    fields: &[NamedField<'_>],
    header: &RequestHeader,
    command: &Path,
) -> Result<TokenStream> {
    let mut values = Vec::new();
    for field in fields {
        let (ident, value) = (field.ident, filled(field)?);
        values.push(quote!(#ident: #value));
    }
    let RequestHeader { path, defaults, .. } = header;
    values.extend(defaults.iter().map(|field| quote!(#field: ::core::default::Default::default())));
    let path = match path {
        Some((field, ty)) => {
            values.push(quote!(#field: ::core::convert::Into::into(_path)));
            quote!(#ty)
        }
        None => quote!(()),
    };
    let (ident, visibility) = (&input.ident, &input.vis);
    Ok(quote! {
        impl #ident {
            /// Makes the command of the request.
            ///
            /// # Errors
            /// The problem to answer with, if the application's clock shows a time that the command
            /// cannot have.
            #visibility fn into_command(
                self,
                _path: #path,
                _edge: ::gesta_http::EdgeValues<'_>,
            ) -> ::core::result::Result<#command, ::gesta_http::Problem> {
                ::core::result::Result::Ok(#command { #(#values),* })
            }
        }
    })
}

/// Returns the value of a command's field: converted, or filled in at the edge if it is absent.
fn filled(field: &NamedField<'_>) -> Result<TokenStream> {
    let ident = field.ident;
    let mut edge = None;
    for_each_entry(&field.field.attrs, "request", |meta| {
        // An example does not change the value.
        if meta.path.is_ident("example") {
            return skip_value(&meta);
        }
        let value = if meta.path.is_ident("now") {
            quote!(_edge.or_now(self.#ident)?)
        } else if meta.path.is_ident("new_id") {
            quote!(_edge.or_new_id(self.#ident))
        } else if meta.path.is_ident("default") {
            let value = converted(field, &quote!(self));
            quote!(#value.unwrap_or_default())
        } else {
            return Err(meta.error(
                "unknown attribute of a request's field; expected `now`, `new_id`, `default` or \
                 `example = …`",
            ));
        };
        set_once(&mut edge, &meta, value)
    })?;
    Ok(edge.unwrap_or_else(|| converted(field, &quote!(self))))
}

/// Returns the implementation of `From` for a value with the same fields.
fn conversion(input: &DeriveInput, fields: &[NamedField<'_>], to: &Path) -> TokenStream {
    let from = &input.ident;
    let values = fields.iter().map(|field| {
        let (ident, value) = (field.ident, converted(field, &quote!(request)));
        quote!(#ident: #value)
    });
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<#from> for #to {
            fn from(request: #from) -> Self {
                #to { #(#values),* }
            }
        }
    }
}

/// Returns the field's value, converted by `Into`, also within an `Option`, which is recognized by
/// name.
fn converted(field: &NamedField<'_>, request: &TokenStream) -> TokenStream {
    let ident = field.ident;
    if is_option(field.ty) {
        return quote!(#request.#ident.map(::core::convert::Into::into));
    }
    quote!(::core::convert::Into::into(#request.#ident))
}

fn is_option(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
    last.ident == "Option" && matches!(arguments.args.first(), Some(GenericArgument::Type(_)))
}
