//! The executable schema: the types and fields of an application, registered with the library.
//!
//! Owns: [`GraphSchema`].
//!
//! Invariant: each operation of the document that answers with JSON is one field of `Query` or
//! `Mutation`; each that reads a read model, and each feed, is a field of `Subscription`, too.

use std::{collections::BTreeMap, sync::Arc};

use async_graphql::{
    QueryPathSegment,
    dynamic::{
        Enum, Field, FieldFuture, FieldValue, InputObject, InputValue, Interface, InterfaceField,
        Object, ResolverContext, Scalar, Schema, SchemaBuilder, SchemaError, Subscription,
        SubscriptionField, SubscriptionFieldFuture, TypeRef, Union,
    },
};
use futures_util::StreamExt as _;
use gesta_http::{GestaState, Link};
use serde_json::Value;

use crate::{
    caller::Caller,
    failure::Failure,
    feed,
    fields::{Argument, FieldAnswer, OTHER_REJECTION, RootField},
    links::{LinkField, LinkFields, link_fields},
    live,
    loader::{Loader, Lookup},
    operations::{HttpOperation, Kind},
    types::{ANY, LONG, ObjectField, Shape, TypeBook, Typed},
    values::{is_long, owned, shown},
};

/// The interface of rejections.
const REJECTION: &str = "Rejection";

/// Visibility of the schema to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Introspection {
    /// Clients cannot read the schema, which shows the whole interface to strangers.
    #[default]
    Off,
    /// Clients may read the schema, for development: tools and the explorer page show it.
    On,
}

/// The types and fields of an application.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) book: TypeBook,
    pub(crate) queries: BTreeMap<String, Arc<RootField>>,
    pub(crate) mutations: BTreeMap<String, Arc<RootField>>,
    pub(crate) subscriptions: BTreeMap<String, Arc<RootField>>,
    links: LinkFields,
}

/// An executable schema with its catalogue.
#[derive(Clone, Debug)]
pub(crate) struct GraphSchema {
    pub(crate) schema: Schema,
    pub(crate) catalogue: Arc<Catalogue>,
}

impl Catalogue {
    /// Reads the operations of an OpenAPI document, and the links between them.
    pub(crate) fn of_document(document: &Value, links: &[Link]) -> Self {
        let mut book = TypeBook::of_document(document);
        let mut operations = BTreeMap::new();
        let (mut queries, mut mutations) = (BTreeMap::new(), BTreeMap::new());
        let mut subscriptions = BTreeMap::new();
        for operation in HttpOperation::of_document(document) {
            let (kind, is_positioned) = (operation.kind, operation.is_positioned);
            let field = Arc::new(RootField::of(operation, &mut book));
            operations.insert(field.operation.id.clone(), Arc::clone(&field));
            let is_live = is_positioned && field.answers_object();
            match kind {
                Kind::Query => {
                    if is_live {
                        put(&mut subscriptions, &field);
                    }
                    put(&mut queries, &field);
                }
                Kind::Mutation => put(&mut mutations, &field),
                Kind::Feed => put(&mut subscriptions, &field),
            }
        }
        let links = link_fields(links, &operations, &mut book);
        Self { book, queries, mutations, subscriptions, links }
    }

    /// Returns the link of an object type.
    pub(crate) fn link(&self, type_name: &str, name: &str) -> Option<&Arc<LinkField>> {
        self.links.get(type_name)?.get(name)
    }
}

/// Adds a field; one whose name is taken has the id of its operation.
fn put(fields: &mut BTreeMap<String, Arc<RootField>>, field: &Arc<RootField>) {
    let is_taken = fields.contains_key(&field.name);
    let name = if is_taken { &field.operation.id } else { &field.name };
    fields.insert(name.clone(), Arc::clone(field));
}

impl GraphSchema {
    /// Builds the schema of an OpenAPI document.
    ///
    /// # Errors
    /// [`SchemaError`] if two types have one name.
    pub(crate) fn of_document(
        document: &Value,
        links: &[Link],
        introspection: Introspection,
        state: &GestaState,
    ) -> Result<Self, SchemaError> {
        let catalogue = Arc::new(Catalogue::of_document(document, links));
        let mutation = (!catalogue.mutations.is_empty()).then_some("Mutation");
        let subscription = (!catalogue.subscriptions.is_empty()).then_some("Subscription");
        let mut builder = Schema::build("Query", mutation, subscription);
        if introspection == Introspection::Off {
            builder = builder.disable_introspection().disable_suggestions();
        }
        builder = register_types(builder, &catalogue);
        let roots = [("Query", &catalogue.queries), ("Mutation", &catalogue.mutations)];
        for (name, fields) in roots.into_iter().filter(|(_, fields)| !fields.is_empty()) {
            let mut object = Object::new(name);
            for (name, field) in fields {
                object = object.field(root_field(name, field, &catalogue));
            }
            builder = builder.register(object);
        }
        if subscription.is_some() {
            let mut object = Subscription::new("Subscription");
            for (name, field) in &catalogue.subscriptions {
                object = object.field(live_field(name, field, &catalogue, state));
            }
            builder = builder.register(object);
        }
        for field in catalogue.mutations.values() {
            if let FieldAnswer::Command(result) = &field.answer {
                let union = Union::new(&result.union).possible_type(&result.success);
                let union =
                    result.rejections.values().fold(union, |it, name| it.possible_type(name));
                builder = builder.register(union.possible_type(OTHER_REJECTION));
            }
        }
        Ok(Self { schema: builder.finish()?, catalogue })
    }
}

fn register_types(mut builder: SchemaBuilder, catalogue: &Arc<Catalogue>) -> SchemaBuilder {
    let book = &catalogue.book;
    let about = "Whole number of 64 bits, as a number or as a text of digits.";
    builder = builder.register(Scalar::new(LONG).description(about).validator(is_long));
    builder = builder.register(Scalar::new(ANY).description("Any JSON."));
    for name in &book.scalars {
        builder = builder.register(Scalar::new(name));
    }
    for of in &book.enums {
        let items = of.items.iter().map(|(name, _)| name.as_str());
        builder = builder.register(Enum::new(&of.name).items(items));
    }
    for (name, of) in &book.outputs {
        let mut object = Object::new(name).description(&of.description);
        for field in &of.fields {
            object = object.field(member_field(field));
        }
        for (name, link) in catalogue.links.get(name).into_iter().flatten() {
            object = object.field(link_field(name, link, catalogue));
        }
        builder = builder.register(object);
    }
    for (name, of) in &book.inputs {
        let mut object = InputObject::new(name).description(&of.description);
        for field in &of.fields {
            let value = InputValue::new(&field.name, type_ref(&field.typed));
            object = object.field(value.description(&field.description));
        }
        builder = builder.register(object);
    }
    register_rejections(builder, book)
}

fn register_rejections(builder: SchemaBuilder, book: &TypeBook) -> SchemaBuilder {
    let members = [
        ("code", "Stable identifier of the rejection; branch on it."),
        ("message", "Explanation for people."),
    ];
    let mut interface = Interface::new(REJECTION);
    for (name, about) in members {
        let field = InterfaceField::new(name, TypeRef::named_nn(TypeRef::STRING));
        interface = interface.field(field.description(about));
    }
    let names = book.rejections.values().map(String::as_str).chain([OTHER_REJECTION]);
    names.fold(builder.register(interface), |builder, name| {
        let mut object = Object::new(name).implement(REJECTION);
        for (name, about) in members {
            object = object.field(member_field(&ObjectField {
                name: name.to_owned(),
                member: name.to_owned(),
                description: about.to_owned(),
                typed: Typed { shape: Shape::Text, is_nullable: false },
            }));
        }
        builder.register(object)
    })
}

fn type_ref(typed: &Typed) -> TypeRef {
    let of = match &typed.shape {
        Shape::List(items) => TypeRef::List(Box::new(type_ref(items))),
        shape => TypeRef::named(shape.type_name()),
    };
    if typed.is_nullable { of } else { TypeRef::NonNull(Box::new(of)) }
}

/// Returns the field of an object's member.
fn member_field(field: &ObjectField) -> Field {
    let (member, typed) = (field.member.clone(), field.typed.clone());
    let built = Field::new(&field.name, type_ref(&field.typed), move |context| {
        let object = context.parent_value.downcast_ref::<Value>();
        let value = object.and_then(|object| object.get(&member)).unwrap_or(&Value::Null);
        // Lists that are left out are empty.
        let is_empty = value.is_null() && matches!(typed.shape, Shape::List(_));
        FieldFuture::Value(match is_empty && !typed.is_nullable {
            true => Some(FieldValue::list(Vec::<FieldValue<'_>>::new())),
            false => shown(value, &typed.shape),
        })
    });
    built.description(&field.description)
}

/// Returns the field of an object that leads to what another operation finds.
fn link_field(name: &str, link: &Arc<LinkField>, catalogue: &Arc<Catalogue>) -> Field {
    let (found, book) = (Arc::clone(link), Arc::clone(catalogue));
    let typed = link.typed();
    let type_of_field = type_ref(&typed);
    let built = Field::new(name, type_of_field, move |context| {
        let (link, book, shape) = (Arc::clone(&found), Arc::clone(&book), typed.shape.clone());
        FieldFuture::new(async move {
            let object = context.parent_value.downcast_ref::<Value>();
            let Some(id) = object.and_then(|object| link.id(object)) else { return Ok(None) };
            let loader = context.ctx.data::<Arc<Loader>>()?;
            let (arguments, root) = (&context.args, root_name(&context));
            let lookup = Lookup { link: &link, id, arguments, root };
            match loader.find(lookup, &book.book).await {
                Ok(Some(value)) => Ok(owned(Value::clone(&value), &shape)),
                Ok(None) => Ok(None),
                Err(failure) => {
                    let error = failure.at(Some(context.ctx.item.pos));
                    loader.add_error(context.ctx.set_error_path(error));
                    Ok(None)
                }
            }
        })
    });
    let built = built.description(&link.target.operation.summary);
    link.arguments().map(input_value).fold(built, Field::argument)
}

/// Returns the name in the answer of the field at the root of a path.
fn root_name<'c>(context: &'c ResolverContext<'_>) -> &'c str {
    let Some(mut node) = context.ctx.path_node.as_ref() else { return "" };
    while let Some(parent) = node.parent {
        node = parent;
    }
    match node.segment {
        QueryPathSegment::Name(name) => name,
        QueryPathSegment::Index(_) => "",
    }
}

fn arguments(field: &RootField) -> impl Iterator<Item = InputValue> {
    field.arguments.iter().map(input_value)
}

fn input_value(argument: &Argument) -> InputValue {
    let value = InputValue::new(&argument.name, type_ref(&argument.typed));
    value.description(&argument.description)
}

fn root_type(field: &RootField) -> TypeRef {
    match &field.answer {
        FieldAnswer::Value(typed) => type_ref(typed),
        FieldAnswer::Command(result) => TypeRef::named(&result.union),
    }
}

fn root_field(name: &str, field: &Arc<RootField>, catalogue: &Arc<Catalogue>) -> Field {
    let (asked, book) = (Arc::clone(field), Arc::clone(catalogue));
    let built = Field::new(name, root_type(field), move |context| {
        let (asked, book) = (Arc::clone(&asked), Arc::clone(&book));
        FieldFuture::new(async move {
            let caller = context.ctx.data::<Arc<Caller>>()?;
            let loader = context.ctx.data::<Arc<Loader>>()?;
            let call = asked.call_parts(&context.args, &book.book);
            let at_least = call.floor();
            match asked.ask(caller, call).await {
                Ok(outcome) => {
                    // The answer of a command links to resources that it has changed.
                    let is_command = asked.operation.kind == Kind::Mutation;
                    let floor = at_least.max(outcome.position.filter(|_| is_command));
                    loader.set_floor(&context.ctx.item.node.response_key().node, floor);
                    Ok(answered(outcome.value, outcome.type_name, &asked))
                }
                Err(failure) => {
                    // An `Err` would leave the field out of the data instead of making it null.
                    let error = failure.at(Some(context.ctx.item.pos));
                    context.ctx.add_error(context.ctx.set_error_path(error));
                    Ok(None)
                }
            }
        })
    });
    arguments(field).fold(built.description(&field.operation.summary), Field::argument)
}

/// Returns an answer as the value of its root field.
fn answered(
    value: Value,
    type_name: Option<String>,
    field: &RootField,
) -> Option<FieldValue<'static>> {
    if let Some(type_name) = type_name {
        return Some(FieldValue::owned_any(value).with_type(type_name));
    }
    match &field.answer {
        FieldAnswer::Value(typed) => owned(value, &typed.shape),
        // The value of a command has a type.
        FieldAnswer::Command(_) => None,
    }
}

fn live_field(
    name: &str,
    field: &Arc<RootField>,
    catalogue: &Arc<Catalogue>,
    state: &GestaState,
) -> SubscriptionField {
    let about = match field.operation.kind {
        Kind::Feed => field.operation.summary.clone(),
        Kind::Query | Kind::Mutation => {
            format!("{}, and again whenever the answer has changed", field.operation.summary)
        }
    };
    // Never null, because a subscription ends with its first error.
    let typed = TypeRef::named_nn(field.type_name());
    let (asked, book, state) = (Arc::clone(field), Arc::clone(catalogue), state.clone());
    let built = SubscriptionField::new(name, typed, move |context| {
        let (asked, book, state) = (Arc::clone(&asked), Arc::clone(&book), state.clone());
        SubscriptionFieldFuture::new(async move {
            let caller = Arc::clone(context.ctx.data::<Arc<Caller>>()?);
            let loader = Arc::clone(context.ctx.data::<Arc<Loader>>()?);
            let call = asked.call_parts(&context.args, &book.book);
            let values = match asked.operation.kind {
                Kind::Feed => feed::events(caller, loader, call).await,
                Kind::Query | Kind::Mutation => {
                    live::answers(live::Live { caller, loader, field: asked, call }, state).await
                }
            };
            let values = values.map_err(Failure::into_error)?;
            Ok(values.map(|value| value.map(FieldValue::owned_any)))
        })
    });
    arguments(field).fold(built.description(about), SubscriptionField::argument)
}
