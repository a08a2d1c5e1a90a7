//! Declared routes: a command or a query as one declaration, without a handler.
//!
//! The application gives a function from the parts of a request to a command or a query. Everything
//! else follows from the types: extraction, execution, the response, and the documentation.
//!
//! Not here: routes with a handler of their own ([`RouteBuilder::handle`]).

use std::{
    future::{Future, ready},
    str::FromStr,
    sync::Arc,
};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::request::Parts,
    response::IntoResponse,
    routing::{MethodRouter, on},
};
use gesta::{Aggregate, Answer, AsOf, Decide, Gesta, OnRead, Query, Revision, stream_of};
use serde::Serialize;

use super::{
    parts::{Content, RequestBody, RequestPath, RequestQuery, query_of},
    route::{ApiRoute, Description, RouteBuilder},
};
use crate::{
    Commands, Created, Describe, EdgeValues, Fields, GestaState, HistoryEntry, ListHistory, Moment,
    Operation, PageLinks, PageRequest, Paged, PathId, Problem, Queries, QueryOf, QueryResponse,
    RequestFields, Resource, Right, Schema, UpdateCommands, Updated, Versioned,
    requests::extract::{path_parameters, with_page::WithPage},
    segment,
    wire::{cursor::invalid_name, schema::wire_name},
};

/// The answer of a query with one page of a list.
///
/// ```
/// use gesta_http::ListPage;
///
/// struct DoorPage {
///     widths: Vec<u8>,
///     last: Option<u8>,
/// }
///
/// impl ListPage for DoorPage {
///     type Item = u8;
///
///     fn into_items(self) -> (Vec<u8>, Option<String>) {
///         (self.widths, self.last.map(|width| width.to_string()))
///     }
/// }
/// ```
pub trait ListPage: Send + 'static {
    /// An entry.
    type Item: Serialize + Schema + Send + 'static;

    /// Returns the entries, and the key of the last one if another page follows.
    fn into_items(self) -> (Vec<Self::Item>, Option<String>);
}

impl RouteBuilder {
    /// Creates a resource by the command that `make` returns for the request's body, path and
    /// [edge values](EdgeValues).
    ///
    /// The response is [`Created`]; its `Location` is the request's path with the id of the
    /// command's first stream. `If-None-Match` is observed as by [`Commands::create`].
    ///
    /// ```
    /// use gesta::prelude::*;
    /// use gesta_http::{ApiRoute, RequestFields};
    /// # #[derive(Event, Serialize, Deserialize, Clone)]
    /// # #[event(name = "door-built")]
    /// # struct DoorBuilt;
    /// # #[derive(EventSet, Clone)]
    /// # enum DoorEvent {
    /// #     Built(DoorBuilt),
    /// # }
    /// # #[derive(Default)]
    /// # struct Door;
    /// # impl Aggregate for Door {
    /// #     const CATEGORY: &'static str = "door";
    /// #     type Id = u32;
    /// #     type Event = DoorEvent;
    /// #     fn evolve(&mut self, _: &DoorEvent) {}
    /// # }
    /// # #[derive(Command, Serialize, Deserialize)]
    /// # #[command(name = "build-door", on = Door, new)]
    /// # struct BuildDoor {
    /// #     #[command(id)]
    /// #     door: u32,
    /// #     width: u8,
    /// # }
    /// # impl Decide for BuildDoor {
    /// #     type Rejection = std::convert::Infallible;
    /// #     fn decide(&self, _: &Door) -> Decision<Self> { Ok(DoorBuilt.into()) }
    /// # }
    ///
    /// /// The door to build.
    /// #[derive(RequestFields)]
    /// #[request(command = BuildDoor)]
    /// struct NewDoor {
    ///     /// Number of the door.
    ///     door: u32,
    ///     /// Width, in cm.
    ///     width: u8,
    /// }
    ///
    /// let route = ApiRoute::post("/doors", "Builds a door").create(NewDoor::into_command);
    /// assert_eq!(route.place().1, "/doors");
    /// ```
    pub fn create<B, P, C, F>(self, make: F) -> ApiRoute
    where
        B: RequestBody,
        P: RequestPath,
        C: Decide,
        F: Fn(B, P, EdgeValues<'_>) -> Result<C, Problem> + Clone + Send + Sync + 'static,
    {
        self.create_with(make, |_, command| ready(Ok(command)))
    }

    /// Creates a resource as [`create`](Self::create) does, after `complete` has added to the
    /// command what it loads from the application. A decision must not load it: it must give the
    /// same result when it is repeated.
    pub fn create_with<B, P, C, F, G, Fut>(self, make: F, complete: G) -> ApiRoute
    where
        B: RequestBody,
        P: RequestPath,
        C: Decide,
        F: Fn(B, P, EdgeValues<'_>) -> Result<C, Problem> + Clone + Send + Sync + 'static,
        G: Fn(Gesta, C) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<C, Problem>> + Send,
    {
        self.command::<Commands, _, _, _, _, _, _>(make, complete)
    }

    /// Changes a resource by the command that `make` returns for the request's body, path and
    /// [edge values](EdgeValues).
    ///
    /// The response is [`Updated`]. `If-Match` is observed as by [`UpdateCommands::execute`].
    pub fn update<B, P, C, F>(self, make: F) -> ApiRoute
    where
        B: RequestBody,
        P: RequestPath,
        C: Decide,
        F: Fn(B, P, EdgeValues<'_>) -> Result<C, Problem> + Clone + Send + Sync + 'static,
    {
        self.update_with(make, |_, command| ready(Ok(command)))
    }

    /// Changes a resource as [`update`](Self::update) does, after `complete` has added to the
    /// command what it loads from the application.
    pub fn update_with<B, P, C, F, G, Fut>(self, make: F, complete: G) -> ApiRoute
    where
        B: RequestBody,
        P: RequestPath,
        C: Decide,
        F: Fn(B, P, EdgeValues<'_>) -> Result<C, Problem> + Clone + Send + Sync + 'static,
        G: Fn(Gesta, C) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<C, Problem>> + Send,
    {
        self.command::<UpdateCommands, _, _, _, _, _, _>(make, complete)
    }

    /// Returns the resource that the query of `ask` finds; `kind` is its kind, such as "order".
    pub fn find<P, Q, T, Conn, F>(self, kind: &'static str, ask: F) -> ApiRoute
    where
        P: RequestPath,
        Q: Answer<Conn> + Query<Answer = Option<T>>,
        T: Serialize + Schema + Send + 'static,
        Conn: Send + 'static,
        F: Fn(P) -> Q + Clone + Send + Sync + 'static,
    {
        let asked = Asked { name: self.parameter(), ask };
        self.answer::<Resource<T>, P, (), _, _>(type_id_of::<Q>(), move |queries, mut parts| {
            let Asked { name, ask } = asked.clone();
            async move {
                let path = <P as RequestPath>::read(&mut parts, &name).await?;
                queries.ask(ask(path)).await?.found(kind)
            }
        })
    }

    /// Returns the resource that the query of `ask` finds, with its revision as the entity tag.
    ///
    /// The revision must be that of the returned values, not the store's current one.
    pub fn find_versioned<P, Q, T, Conn, F>(
        self,
        kind: &'static str,
        ask: F,
        revision: fn(&T) -> Revision,
    ) -> ApiRoute
    where
        P: RequestPath,
        Q: Answer<Conn> + Query<Answer = Option<T>>,
        T: Serialize + Schema + Send + 'static,
        Conn: Send + 'static,
        F: Fn(P) -> Q + Clone + Send + Sync + 'static,
    {
        let asked = Asked { name: self.parameter(), ask };
        self.answer::<Versioned<T>, P, (), _, _>(type_id_of::<Q>(), move |queries, mut parts| {
            let Asked { name, ask } = asked.clone();
            async move {
                let path = <P as RequestPath>::read(&mut parts, &name).await?;
                let found = queries.ask(ask(path)).await?.found(kind)?;
                let revision = revision(found.value());
                Ok(found.at(revision))
            }
        })
    }

    /// Returns a page of a list, found by the query that `ask` returns for the query parameters,
    /// the path and the page.
    ///
    /// `list` is the scope of the cursors: a cursor of another list is refused (422,
    /// `unknown-cursor`).
    pub fn list<R, P, K, Q, Conn, F>(self, list: &'static str, ask: F) -> ApiRoute
    where
        R: RequestQuery,
        P: RequestPath,
        K: FromStr + Send,
        Q: Answer<Conn> + Query<Answer: ListPage>,
        Conn: Send + 'static,
        F: Fn(R, P, PageRequest<K>) -> Q + Clone + Send + Sync + 'static,
    {
        let asked = Asked { name: self.parameter(), ask };
        self.answer::<QueryResponse<Paged<ItemOf<Q::Answer>>>, P, WithPage<R::Read>, _, _>(
            type_id_of::<Q>(),
            move |queries, mut parts| {
                let Asked { name, ask } = asked.clone();
                async move {
                    let path = <P as RequestPath>::read(&mut parts, &name).await?;
                    let (read, page) = page_of::<R, K>(&mut parts, list).await?;
                    let links = page_links(&mut parts).await;
                    let answer = queries.ask(ask(read, path, page)).await?;
                    let answer = answer.map(|page| paged(list, &links, page));
                    Ok(answer.linked(&links, |page| page.next.as_ref()))
                }
            },
        )
        .rejects(&[UNKNOWN_CURSOR])
    }

    /// Returns a page of a list that belongs to a resource of this `kind`; a missing resource is
    /// answered with 404. Otherwise as [`list`](Self::list).
    pub fn list_of<R, P, K, Q, T, Conn, F>(
        self,
        kind: &'static str,
        list: &'static str,
        ask: F,
    ) -> ApiRoute
    where
        R: RequestQuery,
        P: RequestPath,
        K: FromStr + Send,
        Q: Answer<Conn> + Query<Answer = Option<T>>,
        T: ListPage,
        Conn: Send + 'static,
        F: Fn(R, P, PageRequest<K>) -> Q + Clone + Send + Sync + 'static,
    {
        let asked = Asked { name: self.parameter(), ask };
        self.answer::<Resource<Paged<T::Item>>, P, WithPage<R::Read>, _, _>(
            type_id_of::<Q>(),
            move |queries, mut parts| {
                let Asked { name, ask } = asked.clone();
                async move {
                    let path = <P as RequestPath>::read(&mut parts, &name).await?;
                    let (read, page) = page_of::<R, K>(&mut parts, list).await?;
                    let links = page_links(&mut parts).await;
                    let answer = queries.ask(ask(read, path, page)).await?.found(kind)?;
                    let answer = answer.map(|page| paged(list, &links, page));
                    Ok(answer.linked(&links, |page| page.next.as_ref()))
                }
            },
        )
        .rejects(&[UNKNOWN_CURSOR])
    }

    /// Returns a page of the history of an aggregate of this `kind`: the events of its stream.
    pub fn history<A, P>(self, kind: &'static str) -> ApiRoute
    where
        A: Aggregate,
        P: PathId + Into<A::Id>,
    {
        let name = self.parameter();
        self.answer::<Resource<Paged<HistoryEntry>>, P, ListHistory, _, _>(
            "listHistory".to_owned(),
            move |queries, mut parts| {
                let name = Arc::clone(&name);
                async move {
                    let id = <P as RequestPath>::read(&mut parts, &name).await?;
                    // From the stream itself: a read model keeps only the current state.
                    let stream = stream_of::<A>(&id.into());
                    let stream = stream.map_err(|error| invalid_name(&name, &error))?;
                    let list: ListHistory = query_of(&mut parts).await?;
                    let links = page_links(&mut parts).await;
                    queries.history(stream, &list, &links).await?.found(kind)
                }
            },
        )
        .right(Right::History)
        .rejects(&[UNKNOWN_CURSOR])
    }

    /// Returns a row of an on-read projection with its revision as the entity tag: the current one,
    /// or that of the moment in the query parameter `at` ([`Moment`]).
    ///
    /// `present` returns the response for a row, or `None` if the resource does not exist.
    pub fn read<R, P, T>(self, kind: &'static str, present: fn(R::Row) -> Option<T>) -> ApiRoute
    where
        R: OnRead,
        P: PathId + Into<R::Id>,
        T: Serialize + Schema + Send + 'static,
    {
        let name = self.parameter();
        self.answer::<Versioned<T>, P, AtMoment, _, _>(
            type_id_of::<R>(),
            move |queries, mut parts| {
                let name = Arc::clone(&name);
                async move {
                    let id = <P as RequestPath>::read(&mut parts, &name).await?;
                    let AtMoment { at } = query_of(&mut parts).await?;
                    let as_of = at.map_or(AsOf::Now, |Moment(as_of)| as_of);
                    let found = queries.read::<R>(&id.into(), as_of).await?;
                    let found = found.and_then(|found| found.map(present).present());
                    found.ok_or_else(|| Problem::not_found(kind))
                }
            },
        )
        .moment("at")
    }

    /// Finishes a route whose commands `E` executes.
    fn command<E, B, P, C, F, G, Fut>(self, make: F, complete: G) -> ApiRoute
    where
        E: ExecuteCommand,
        B: RequestBody,
        P: RequestPath,
        C: Decide,
        F: Fn(B, P, EdgeValues<'_>) -> Result<C, Problem> + Clone + Send + Sync + 'static,
        G: Fn(Gesta, C) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<C, Problem>> + Send,
    {
        let name = self.parameter();
        let describe = command_description::<E, B, P, E::Response>(Arc::clone(&name));
        let handler = move |State(state): State<GestaState>, request: Request| {
            let (make, complete, name) = (make.clone(), complete.clone(), Arc::clone(&name));
            async move {
                let (mut parts, body) = request.into_parts();
                let commands = E::from_request_parts(&mut parts, &state).await?;
                let path = <P as RequestPath>::read(&mut parts, &name).await?;
                let target = E::target(&mut parts).await?;
                // The body last: everything else may refuse the request without reading it.
                let body = B::read(Request::from_parts(parts, body), &state).await?;
                let command = make(body, path, commands.edge_values())?;
                let command = complete(state.gesta().clone(), command).await?;
                commands.run(command, target).await
            }
        };
        let router = on::<_, (_, State<GestaState>, Request), _>(self.filter(), handler);
        self.finish(operation_id_of(C::NAME), Content::of::<B>(), router, describe)
    }

    /// Finishes a route that reads, with `read` as its handler and `V` as its query parameters.
    fn answer<Res, P, V, F, Fut>(self, id: String, read: F) -> ApiRoute
    where
        Res: IntoResponse + Describe + 'static,
        P: RequestPath,
        V: QueryDescription,
        F: Fn(Queries, Parts) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Res, Problem>> + Send,
    {
        let name = self.parameter();
        let describe: Description = Arc::new(move |operation| {
            Queries::describe(operation);
            P::describe(&name, operation);
            V::describe(operation);
            Result::<Res, Problem>::describe(operation);
        });
        let handler = move |queries: Queries, request: Request| {
            let (parts, _) = request.into_parts();
            read(queries, parts)
        };
        let router: MethodRouter<GestaState> =
            on::<_, (_, Queries, Request), _>(self.filter(), handler);
        self.finish(id, Content::Refused, router, describe)
    }
}

/// The code of the rejection of a cursor that belongs to another list.
const UNKNOWN_CURSOR: &str = "unknown-cursor";

/// Moment to read at.
#[derive(RequestFields)]
struct AtMoment {
    /// A time, `revision:3` or `position:42`; defaults to now.
    at: Option<Moment>,
}

/// The name of the path's parameter, and the function from the request's parts to a query.
#[derive(Clone)]
struct Asked<F> {
    name: Arc<str>,
    ask: F,
}

/// The item of a page.
type ItemOf<P> = <P as ListPage>::Item;

/// An extractor that executes the command of a declared route.
trait ExecuteCommand:
    FromRequestParts<GestaState, Rejection = Problem> + Describe + Send + Sync + 'static
{
    type Response: IntoResponse + Describe + 'static;
    /// The part of the request that the response needs.
    type Target: Send;

    fn target(parts: &mut Parts) -> impl Future<Output = Result<Self::Target, Problem>> + Send;

    fn edge_values(&self) -> EdgeValues<'_>;

    fn run<C: Decide>(
        &self,
        command: C,
        target: Self::Target,
    ) -> impl Future<Output = Result<Self::Response, Problem>> + Send;
}

impl ExecuteCommand for Commands {
    type Response = Created;
    /// The path of the collection.
    type Target = String;

    async fn target(parts: &mut Parts) -> Result<String, Problem> {
        whole_path(parts).await
    }

    fn edge_values(&self) -> EdgeValues<'_> {
        self.edge()
    }

    async fn run<C: Decide>(&self, command: C, collection: String) -> Result<Created, Problem> {
        self.create_in(command, &collection).await
    }
}

impl ExecuteCommand for UpdateCommands {
    type Response = Updated;
    type Target = ();

    async fn target(_: &mut Parts) -> Result<(), Problem> {
        Ok(())
    }

    fn edge_values(&self) -> EdgeValues<'_> {
        self.edge()
    }

    async fn run<C: Decide>(&self, command: C, (): ()) -> Result<Updated, Problem> {
        self.execute(command).await
    }
}

/// The documentation of a route's query parameters.
trait QueryDescription {
    fn describe(operation: &mut Operation<'_>);
}

impl QueryDescription for () {
    fn describe(_: &mut Operation<'_>) {}
}

impl<T: Fields> QueryDescription for T {
    fn describe(operation: &mut Operation<'_>) {
        QueryOf::<T>::describe(operation);
    }
}

fn command_description<E, B, P, Res>(name: Arc<str>) -> Description
where
    E: Describe,
    B: RequestBody,
    P: RequestPath,
    Res: Describe,
{
    Arc::new(move |operation| {
        E::describe(operation);
        P::describe(&name, operation);
        B::describe(operation);
        Result::<Res, Problem>::describe(operation);
    })
}

/// Returns the request's path as the client sees it: with the prefix of a router that nests this
/// one, which the request's own path lacks.
async fn whole_path(parts: &mut Parts) -> Result<String, Problem> {
    let Some(matched) = parts.extensions.get::<MatchedPath>().cloned() else {
        return Ok(parts.uri.path().to_owned());
    };
    let mut path = matched.as_str().to_owned();
    for (name, value) in &path_parameters(parts).await? {
        path = path.replace(&format!("{{{name}}}"), &segment(value));
    }
    Ok(path)
}

/// Reads the query parameters of a list: its own, and those of its pages.
async fn page_of<R: RequestQuery, K: FromStr>(
    parts: &mut Parts,
    list: &str,
) -> Result<(R, PageRequest<K>), Problem> {
    let WithPage { parameters, page } = query_of::<WithPage<R::Read>>(parts).await?;
    let after = page.cursor.map(|cursor| cursor.at(list, |key| key.parse().ok()));
    let limit = page.limit.unwrap_or_default();
    Ok((R::of(parameters), PageRequest { after: after.transpose()?, limit }))
}

async fn page_links(parts: &mut Parts) -> PageLinks {
    let Ok(links) = PageLinks::from_request_parts(parts, &()).await;
    links
}

fn paged<P: ListPage>(list: &str, links: &PageLinks, page: P) -> Paged<P::Item> {
    let (items, last) = page.into_items();
    // Opaque to clients, so the key behind it can change.
    Paged { items, next: last.map(|key| links.next(list, &key)) }
}

/// Returns the operation id of a command: `createUser` for `create-user`.
fn operation_id_of(command: &str) -> String {
    wire_name(&command.replace('-', "_"))
}

/// Returns the operation id of a query: `findUser` for `FindUser`.
fn type_id_of<Q>() -> String {
    let path = std::any::type_name::<Q>();
    let name = path.rsplit("::").next().unwrap_or(path);
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}
