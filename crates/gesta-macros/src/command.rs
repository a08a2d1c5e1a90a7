//! `derive(Command)`.
//!
//! Owns: name, boundary, existence and ids of a command, and the fields of its payload with their
//! defaults.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, ExprLit, ExprPath, Field, Fields, Lit, LitStr,
    Member, Meta, MetaNameValue, Path, Result, Token, Type, meta::ParseNestedMeta, parse::Parser,
    punctuated::Punctuated, spanned::Spanned,
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
    let id = id(&data.fields, header.ids.as_ref(), &on, span)?;
    // A constant cannot name type parameters.
    let categories = input.generics.params.is_empty().then(|| category_check(&on));
    let payload = payload(input, &data.fields)?;
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

            #payload
            #validate
        }

        #categories
    })
}

/// Returns a check that `cargo check` evaluates, at the boundary's place.
fn category_check(on: &Type) -> TokenStream {
    quote_spanned! { on.span() =>
        const _: () = ::gesta::__derive::assert_categories(
            <#on as ::gesta::Boundary>::HAS_VALID_CATEGORIES,
        );
    }
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

fn id(fields: &Fields, path: Option<&Path>, on: &Type, span: Span) -> Result<TokenStream> {
    let (mut members, mut place) = (Vec::new(), None);
    for (member, field) in fields.members().zip(fields) {
        if has_mark(field, "id")? {
            members.push(member);
            place = place.or_else(|| Some(field.ty.span()));
        }
    }
    let given = match members.as_slice() {
        [member] => quote!(::core::clone::Clone::clone(&self.#member)),
        members => quote!((#(::core::clone::Clone::clone(&self.#members)),*)),
    };
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
        // At the field's type, where an error about the id belongs.
        (_, None) => Ok(quote_spanned! { place.unwrap_or(span) =>
            ::gesta::__derive::id::<<#on as ::gesta::Boundary>::Id, _>(#given)
        }),
    }
}

fn payload(input: &DeriveInput, fields: &Fields) -> Result<TokenStream> {
    let of_struct = serde_default(&input.attrs)?;
    let mut parts = Vec::new();
    for (member, field) in fields.members().zip(fields) {
        if !has_mark(field, "edge")? {
            parts.push(part(&member, field, of_struct.as_ref())?);
        }
    }
    Ok(quote! {
        fn payload(
            &self,
        ) -> ::core::result::Result<::gesta::CommandPayload, ::gesta::EncodeError> {
            let payload = ::gesta::CommandPayload::new(<Self as ::gesta::Command>::NAME);
            #(let payload = payload #parts;)*
            ::core::result::Result::Ok(payload)
        }
    })
}

/// Returns the code that adds a field, and its default if an absent field has one.
fn part(member: &Member, field: &Field, of_struct: Option<&SerdeDefault>) -> Result<TokenStream> {
    let key = compact(member);
    let add = if has_own_decoding(field)? { quote!(opaque_field) } else { quote!(field) };
    let default = match (serde_default(&field.attrs)?, of_struct) {
        (Some(SerdeDefault::OfType), _) => {
            let ty = &field.ty;
            Some(quote!(<#ty as ::core::default::Default>::default()))
        }
        (None, Some(SerdeDefault::OfType)) => {
            Some(quote!(<Self as ::core::default::Default>::default().#member))
        }
        (Some(SerdeDefault::Function(path)), _) => Some(quote!(#path())),
        (None, Some(SerdeDefault::Function(path))) => {
            // The annotation keeps the error at the function if it returns another type.
            Some(quote!({ let default: Self = #path(); default.#member }))
        }
        (None, None) => None,
    };
    let or = default.map(|default| quote!(.or(&#default)?));
    Ok(quote!(.#add(#key, &self.#member)? #or))
}

/// The value of an absent field, by `#[serde(default)]` or `#[serde(default = "path")]`.
enum SerdeDefault {
    OfType,
    Function(ExprPath),
}

fn serde_default(attributes: &[Attribute]) -> Result<Option<SerdeDefault>> {
    let mut found = None;
    for_each_serde_entry(attributes, |entry| {
        if entry.path().is_ident("default") {
            found = Some(match entry {
                Meta::NameValue(MetaNameValue {
                    value: Expr::Lit(ExprLit { lit: Lit::Str(path), .. }),
                    ..
                }) => SerdeDefault::Function(path.parse()?),
                _ => SerdeDefault::OfType,
            });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Returns whether serde decodes a field by other means than its type.
fn has_own_decoding(field: &Field) -> Result<bool> {
    let mut found = false;
    for_each_serde_entry(&field.attrs, |entry| {
        let own =
            ["with", "deserialize_with", "serialize_with", "skip", "skip_deserializing", "getter"];
        found |= own.iter().any(|name| entry.path().is_ident(name));
        Ok(())
    })?;
    Ok(found)
}

fn for_each_serde_entry(
    attributes: &[Attribute],
    mut read: impl FnMut(&Meta) -> Result<()>,
) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let Meta::List(list) = &attribute.meta else { continue };
        let entries = Punctuated::<Meta, Token![,]>::parse_terminated;
        // Serde reports an entry that is malformed.
        let Ok(entries) = entries.parse2(list.tokens.clone()) else { continue };
        entries.iter().try_for_each(&mut read)?;
    }
    Ok(())
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
