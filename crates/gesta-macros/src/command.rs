//! `derive(Command)`.
//!
//! Owns: name, boundary, existence and ids of a command, and the fields in its payload digest.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Data, DeriveInput, Error, Field, Fields, LitStr, Member, Path, Result, Type,
    meta::ParseNestedMeta,
};

use crate::attributes::{attribute_span, check_name, compact, for_each_entry, required, set_once};

/// The entries of `#[command(…)]` on the struct.
#[derive(Default)]
struct CommandHeader {
    name: Option<LitStr>,
    on: Option<Type>,
    existence: Option<&'static str>,
    ids: Option<Path>,
    validate: Option<Path>,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new(
            input.ident.span(),
            "`Command` can be derived for structs only; make each command a struct of its own",
        ));
    };
    let header = header(input)?;
    let span = attribute_span(&input.attrs, "command", input.ident.span());
    let name =
        required(header.name, span, "the command's name: `#[command(name = \"ship-order\", …)]`")?;
    let on =
        required(header.on, span, "the aggregate of the command: `#[command(on = Order, …)]`")?;
    let existence = format_ident!("{}", header.existence.unwrap_or("Existing"));
    let id = id(&data.fields, header.ids.as_ref(), span)?;
    let digest = digest(&data.fields)?;
    let validate = header.validate.as_ref().map(validate);
    let ident = &input.ident;
    let (impls, types, clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls ::gesta::Command for #ident #types #clause {
            const NAME: &'static str = #name;
            const EXISTENCE: ::gesta::Existence = ::gesta::Existence::#existence;
            type On = #on;

            fn id(&self) -> <#on as ::gesta::Boundary>::Id {
                #id
            }

            #digest
            #validate
        }
    })
}

fn header(input: &DeriveInput) -> Result<CommandHeader> {
    let mut header = CommandHeader::default();
    for_each_entry(&input.attrs, "command", |meta| {
        if meta.path.is_ident("name") {
            let name: LitStr = meta.value()?.parse()?;
            check_name(&name)?;
            return set_once(&mut header.name, &meta, name);
        }
        if meta.path.is_ident("on") {
            let on: Type = meta.value()?.parse()?;
            return set_once(&mut header.on, &meta, on);
        }
        if meta.path.is_ident("id") {
            let path: Path = meta.value()?.parse()?;
            return set_once(&mut header.ids, &meta, path);
        }
        if meta.path.is_ident("validate") {
            let path: Path = meta.value()?.parse()?;
            return set_once(&mut header.validate, &meta, path);
        }
        let existence = existence(&meta)?;
        set_once(&mut header.existence, &meta, existence)
    })?;
    Ok(header)
}

fn existence(meta: &ParseNestedMeta<'_>) -> Result<&'static str> {
    let choices = [("new", "New"), ("existing", "Existing"), ("either", "Either")];
    let choice = choices.into_iter().find(|(word, _)| meta.path.is_ident(word));
    let Some((_, variant)) = choice else {
        return Err(meta.error(
            "unknown attribute of a command; expected `name = \"…\"`, `on = Aggregate`, `new`, \
             `existing`, `either`, `id = path` or `validate = path`",
        ));
    };
    Ok(variant)
}

fn id(fields: &Fields, path: Option<&Path>, span: Span) -> Result<TokenStream> {
    let mut members = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        if has_mark(field, "id")? {
            members.push(member);
        }
    }
    match (members.as_slice(), path) {
        ([], None) => Err(Error::new(
            span,
            "missing the id of the aggregate: mark its field with `#[command(id)]`, or give a \
             function, `#[command(id = path)]`",
        )),
        ([], Some(path)) => Ok(quote!(#path(self))),
        (_, Some(path)) => Err(Error::new_spanned(
            path,
            "the id is given twice: remove `id = path`, or `#[command(id)]` on the field",
        )),
        ([member], None) => Ok(quote!(::core::clone::Clone::clone(&self.#member))),
        (members, None) => Ok(quote!((#(::core::clone::Clone::clone(&self.#members)),*))),
    }
}

fn digest(fields: &Fields) -> Result<TokenStream> {
    let mut parts = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        if !has_mark(field, "edge")? {
            parts.push(part(&member));
        }
    }
    Ok(quote! {
        fn payload_digest(
            &self,
        ) -> ::core::result::Result<::gesta::PayloadDigest, ::gesta::EncodeError> {
            let digest = ::gesta::__derive::PayloadDigester::new(<Self as ::gesta::Command>::NAME);
            #(let digest = digest #parts;)*
            ::core::result::Result::Ok(digest.finish())
        }
    })
}

fn part(member: &Member) -> TokenStream {
    let key = compact(member);
    quote!(.field(#key, &self.#member)?)
}

fn has_mark(field: &Field, mark: &str) -> Result<bool> {
    let mut found = false;
    for_each_entry(&field.attrs, "command", |meta| {
        if !meta.path.is_ident("id") && !meta.path.is_ident("edge") {
            return Err(
                meta.error("unknown attribute of a command's field; expected `id` or `edge`")
            );
        }
        found |= meta.path.is_ident(mark);
        Ok(())
    })?;
    Ok(found)
}

fn validate(path: &Path) -> TokenStream {
    quote! {
        fn validate(&self) -> ::core::result::Result<(), ::gesta::InvalidField> {
            #path(self)
        }
    }
}
