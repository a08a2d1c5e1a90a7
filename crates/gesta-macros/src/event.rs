//! `derive(Event)`.
//!
//! Owns: the stored name and version, the chain of upcasters, tags, and the shape for lock files.
//! Not here: the names of personal fields ([`personal`]).

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Data, DeriveInput, Error, ExprPath, Field, Fields, GenericArgument, Ident, LitInt, LitStr,
    Member, PathArguments, Result, Type, spanned::Spanned,
};

use crate::{
    attributes::{
        attribute_span, check_name, compact, for_each_entry, required, serde_tokens, set_once,
    },
    personal::{self, PersonalMark},
};

/// The entries of `#[event(…)]` on the struct.
struct EventHeader {
    name: LitStr,
    version: u16,
    from: Option<Predecessor>,
    codec: Option<Type>,
}

/// The event that reads older versions: `from` or `split`.
struct Predecessor {
    event: Type,
    /// `true` for `split`: one old event becomes any number of new ones.
    splits: bool,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let fields = fields_of(input)?;
    let EventHeader { name, version, from, codec } = header(input)?;
    let fields_marked = marks(fields)?;
    let tags = tags(fields, &fields_marked);
    let old = from.as_ref().map(|old| &old.event);
    let personal = personal::method(input, fields, &personal_marks(&fields_marked), old)?;
    let shape = shape(input, fields);
    let upcast = from.as_ref().map(|old| if old.splits { split(old) } else { upcast(old) });
    let coding = codec.as_ref().map(coding);
    // A constant cannot name type parameters: the chain of a generic event is checked on use.
    let plain = input.generics.params.is_empty();
    let chain = from.as_ref().filter(|_| plain).map(|old| chain_check(&input.ident, &old.event));
    let ident = &input.ident;
    let (impls, types, clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls ::gesta::Event for #ident #types #clause {
            const NAME: &'static str = #name;
            const VERSION: u16 = #version;
            const SHAPE: &'static str = #shape;
            #coding
            #upcast
            #tags
            #personal
        }
        #chain
    })
}

fn fields_of(input: &DeriveInput) -> Result<&Fields> {
    match &input.data {
        Data::Struct(data) => Ok(&data.fields),
        Data::Enum(_) | Data::Union(_) => Err(Error::new(
            input.ident.span(),
            "`Event` can be derived for structs only; for an enum of events derive `EventSet`",
        )),
    }
}

fn header(input: &DeriveInput) -> Result<EventHeader> {
    let (mut name, mut version, mut from, mut codec) = (None, None, None, None);
    for_each_entry(&input.attrs, "event", |meta| {
        if meta.path.is_ident("name") {
            let text: LitStr = meta.value()?.parse()?;
            check_name(&text)?;
            return set_once(&mut name, &meta, text);
        }
        if meta.path.is_ident("version") {
            let number: LitInt = meta.value()?.parse()?;
            return set_once(&mut version, &meta, number);
        }
        let splits = meta.path.is_ident("split");
        if splits || meta.path.is_ident("from") {
            let event: Type = meta.value()?.parse()?;
            return set_once(&mut from, &meta, Predecessor { event, splits });
        }
        if meta.path.is_ident("codec") {
            let given: Type = meta.value()?.parse()?;
            return set_once(&mut codec, &meta, given);
        }
        Err(meta.error(
            "unknown attribute of an event; expected `name = \"…\"`, `version = N`, \
             `from = OldEvent`, `split = OldEvent` or `codec = Codec`",
        ))
    })?;
    let span = attribute_span(&input.attrs, "event", input.ident.span());
    let name = required(name, span, "the event's name: `#[event(name = \"order-placed\")]`")?;
    let version = version_number(version.as_ref(), from.as_ref().map(|old| &old.event))?;
    Ok(EventHeader { name, version, from, codec })
}

fn version_number(given: Option<&LitInt>, from: Option<&Type>) -> Result<u16> {
    let Some(given) = given else {
        return match from {
            Some(old) => Err(Error::new(
                old.span(),
                "an event with an older version needs `version = 2` or higher",
            )),
            None => Ok(1),
        };
    };
    match (given.base10_parse()?, from) {
        (0, _) => Err(Error::new(given.span(), "`version` must be 1 or higher")),
        (1, Some(old)) => Err(Error::new(
            old.span(),
            "version 1 has no older version; give `version = 2` or higher",
        )),
        (version, _) => Ok(version),
    }
}

/// Returns the content type of a codec, and the methods that encode and decode by it.
fn coding(codec: &Type) -> TokenStream {
    quote_spanned! { codec.span() =>
        const CONTENT_TYPE: &'static str = <#codec as ::gesta::EventCodec>::CONTENT_TYPE;

        fn to_data(
            &self,
        ) -> ::core::result::Result<
            (::gesta::store::ContentType, ::std::vec::Vec<u8>),
            ::gesta::EncodeError,
        > {
            ::gesta::__derive::encode_by::<#codec, Self>(self)
        }

        fn from_data(
            data: ::gesta::EventData<'_>,
        ) -> ::core::result::Result<Self, ::gesta::DecodeError> {
            ::gesta::__derive::decode_by::<#codec, Self>(data)
        }
    }
}

fn upcast(Predecessor { event: old, .. }: &Predecessor) -> TokenStream {
    let versions = versions(old);
    quote! {
        fn upcast(
            version: u16,
            data: ::gesta::EventData<'_>,
        ) -> ::core::result::Result<Self, ::gesta::DecodeError> {
            const { ::gesta::__derive::assert_upcasts::<#old, Self>() };
            ::gesta::__derive::upcast_from::<#old, Self>(version, data)
        }

        fn upcast_each(
            version: u16,
            data: ::gesta::EventData<'_>,
            each: &mut dyn ::core::ops::FnMut(Self),
        ) -> ::core::result::Result<(), ::gesta::DecodeError> {
            ::gesta::__derive::upcast_each_from::<#old, Self>(version, data, each)
        }

        #versions
    }
}

fn split(Predecessor { event: old, .. }: &Predecessor) -> TokenStream {
    let versions = versions(old);
    quote! {
        fn upcast(
            version: u16,
            data: ::gesta::EventData<'_>,
        ) -> ::core::result::Result<Self, ::gesta::DecodeError> {
            const { ::gesta::__derive::assert_upcasts::<#old, Self>() };
            ::gesta::__derive::one(<Self as ::gesta::Event>::NAME, version, |each| {
                <Self as ::gesta::Event>::upcast_each(version, data, each)
            })
        }

        fn upcast_each(
            version: u16,
            data: ::gesta::EventData<'_>,
            each: &mut dyn ::core::ops::FnMut(Self),
        ) -> ::core::result::Result<(), ::gesta::DecodeError> {
            ::gesta::__derive::split_each_from::<#old, Self>(version, data, each)
        }

        #versions
    }
}

fn versions(old: &Type) -> TokenStream {
    quote! {
        fn shapes() -> ::std::vec::Vec<::gesta::EventShape> {
            ::gesta::__derive::shapes_from::<#old, Self>()
        }

        fn versions() -> ::std::vec::Vec<::gesta::EventVersion> {
            ::gesta::__derive::versions_from::<#old, Self>()
        }
    }
}

/// Returns a compile-time check that the predecessor has the same name and an older version.
fn chain_check(new: &Ident, old: &Type) -> TokenStream {
    quote_spanned! { old.span() =>
        const _: () = ::gesta::__derive::assert_upcasts::<#old, #new>();
    }
}

/// The entries of `#[event(…)]` on a field.
struct FieldMarks {
    tag: Option<KeyOfTag>,
    /// The place of `personal`.
    personal: Option<Span>,
}

/// The key of a field's tag.
enum KeyOfTag {
    /// Checked here.
    Text(LitStr),
    /// A constant of type `TagKey`.
    Constant(ExprPath),
}

fn marks(fields: &Fields) -> Result<Vec<FieldMarks>> {
    fields.members().zip(fields).map(|(member, field)| marks_of(&member, field)).collect()
}

fn marks_of(member: &Member, field: &Field) -> Result<FieldMarks> {
    let (mut key, mut personal) = (None, None);
    for_each_entry(&field.attrs, "event", |meta| {
        if meta.path.is_ident("personal") {
            return set_once(&mut personal, &meta, meta.path.span());
        }
        if !meta.path.is_ident("tag") {
            return Err(meta.error(
                "unknown attribute of an event's field; expected `tag`, `tag = KEY` (a constant of \
                 type `TagKey`), `tag = \"key\"` or `personal`",
            ));
        }
        let given = match meta.value() {
            Ok(value) if value.peek(LitStr) => KeyOfTag::Text(value.parse()?),
            Ok(value) => KeyOfTag::Constant(value.parse()?),
            Err(_) => KeyOfTag::Text(own_key(member, field)?),
        };
        if let KeyOfTag::Text(text) = &given {
            check_key(text)?;
        }
        set_once(&mut key, &meta, given)
    })?;
    Ok(FieldMarks { tag: key, personal })
}

/// Returns for each field the code of its tag's key and the place of its mark, if it is personal.
fn personal_marks(marks: &[FieldMarks]) -> Vec<Option<PersonalMark>> {
    let mark = |marks: &FieldMarks| {
        let tag = marks.tag.as_ref().map(|key| match key {
            KeyOfTag::Text(key) => quote!(#key),
            KeyOfTag::Constant(key) => quote!(::gesta::TagKey::as_str(#key)),
        });
        marks.personal.map(|span| PersonalMark { span, tag })
    };
    marks.iter().map(mark).collect()
}

fn tags(fields: &Fields, marks: &[FieldMarks]) -> Option<TokenStream> {
    let tagged = fields.members().zip(fields).zip(marks);
    let pushes: Vec<_> = tagged
        .filter_map(|((member, field), marks)| Some(push(&member, field, marks.tag.as_ref()?)))
        .collect();
    if pushes.is_empty() {
        return None;
    }
    Some(quote! {
        fn tags(
            &self,
        ) -> ::core::result::Result<::std::vec::Vec<::gesta::Tag>, ::gesta::InvalidName> {
            let mut tags = ::std::vec::Vec::new();
            #(#pushes)*
            ::core::result::Result::Ok(tags)
        }
    })
}

fn own_key(member: &Member, field: &Field) -> Result<LitStr> {
    match member {
        Member::Named(ident) => {
            let text = ident.to_string();
            Ok(LitStr::new(text.trim_start_matches("r#"), ident.span()))
        }
        Member::Unnamed(_) => Err(Error::new(
            field.span(),
            "the tag of an unnamed field needs a key: `tag = \"key\"`",
        )),
    }
}

fn check_key(key: &LitStr) -> Result<()> {
    check_name(key)?;
    if key.value().contains(':') {
        return Err(Error::new(
            key.span(),
            "a tag's key must not contain `:`, which separates key and value",
        ));
    }
    Ok(())
}

/// Returns the code that adds a field's tags: one for each value of an `Option` or a `Vec`, which
/// are recognized by name.
fn push(member: &Member, field: &Field, key: &KeyOfTag) -> TokenStream {
    let one = |value: TokenStream| match key {
        KeyOfTag::Text(key) => quote_spanned! { field.ty.span() =>
            tags.push(::gesta::Tag::of(#key, &::std::string::ToString::to_string(#value))?);
        },
        KeyOfTag::Constant(key) => quote_spanned! { field.ty.span() =>
            tags.push(::gesta::TagKey::tag(#key, #value)?);
        },
    };
    let place = field.ty.span();
    if !holds_several(&field.ty) {
        return one(quote_spanned!(place => &self.#member));
    }
    let push = one(quote_spanned!(place => value));
    quote_spanned!(place =>
        for value in ::core::iter::IntoIterator::into_iter(&self.#member) { #push }
    )
}

fn holds_several(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
    let one_type = matches!(arguments.args.first(), Some(GenericArgument::Type(_)));
    one_type && (last.ident == "Option" || last.ident == "Vec")
}

/// Returns field names and types as written, with the attributes that change their JSON.
fn shape(input: &DeriveInput, fields: &Fields) -> String {
    let parts: Vec<String> = fields
        .members()
        .zip(fields)
        .map(|(member, field)| {
            let serde = serde_tokens(&field.attrs);
            format!("{serde}{}: {}", compact(&member), compact(&field.ty))
        })
        .collect();
    format!("{}{{{}}}", serde_tokens(&input.attrs), parts.join(", "))
}
