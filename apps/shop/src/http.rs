//! The shop's HTTP interface.
//!
//! Owns: [`api`], its GraphQL form, and the JSON form of the shop's values. Not here: the routes of
//! a domain, which are in that domain; the server, which is in the binary.

#[cfg(feature = "search")]
pub(crate) mod found;
pub(crate) mod values;

use gesta::{Aggregate as _, ProcessManager as _, Reactor as _};
#[cfg(feature = "graphql")]
use gesta_graphql::{GraphQl, Introspection};
use gesta_http::{Access, Api, ApiRoute, Link, LinkSource, Tenants};

use crate::{
    accounts::{self, Account},
    catalogue::{self, Product},
    orders::{
        self, Fulfilment, Line, Order, OrderDetails,
        credit_notes::{CreditNote, CreditNoteDetails},
        summaries::OrderSummary,
    },
    registry,
    samples::{self, faults},
    users::{self, EmailOwners, Greeting, User, UserDetails, Welcome, WelcomeMail},
};

/// Description of the shop in the documents.
const DESCRIPTION: &str = "Users, a catalogue, orders and accounts of a small company, on Gesta.

Every change is a command: send an `Idempotency-Key`, and a retry takes effect once. Every answer \
has a `Gesta-Position`: send it with a query that must see the change. Unsuccessful answers are \
problem documents (RFC 9457) with a stable `code`. `asyncapi.json` describes the feed of events.

The examples name what `shop demo` prepares.";

/// Examples of parameters of built-in operations: operation, parameter, value.
const SAMPLES: [(&str, &str, &str); 43] = [
    ("rebuildProjection", "name", "sales"),
    ("compareRebuild", "name", "users"),
    ("confirmSwitch", "name", "users"),
    ("rollBackProjection", "name", "products"),
    ("dropOldRows", "name", "credit-notes"),
    ("pauseProjection", "name", "users"),
    ("resumeProjection", "name", "users"),
    ("tryDeadLetter", "id", faults::LETTER_TO_TRY),
    ("retryDeadLetter", "id", faults::LETTER_TO_RETRY),
    ("discardDeadLetter", "id", faults::LETTER_TO_DISCARD),
    ("showProcess", "process", Welcome::NAME),
    ("pauseProcess", "process", Welcome::NAME),
    ("resumeProcess", "process", Welcome::NAME),
    ("listInstances", "process", Welcome::NAME),
    ("showInstance", "process", Welcome::NAME),
    ("showInstance", "id", samples::USER),
    ("listDueTimers", "process", Welcome::NAME),
    ("listOutstandingCommands", "process", Fulfilment::NAME),
    ("showAggregate", "category", User::CATEGORY),
    ("showAggregate", "id", samples::USER),
    ("readStream", "stream", samples::STREAM),
    ("describeStream", "stream", samples::STREAM),
    ("listSetAside", "process", Welcome::NAME),
    ("retryProcess", "process", Welcome::NAME),
    ("retryProcess", "subject", faults::SUBJECT_TO_RETRY),
    ("skipProcessInput", "process", Welcome::NAME),
    ("skipProcessInput", "subject", faults::SUBJECT_TO_SKIP),
    ("cancelProcess", "process", Welcome::NAME),
    ("cancelProcess", "id", faults::INSTANCE_TO_CANCEL),
    ("fireProcessTimer", "process", Welcome::NAME),
    ("fireProcessTimer", "id", faults::INSTANCE_TO_FIRE),
    ("fireProcessTimer", "timer", faults::TIMER_TO_FIRE),
    ("resendProcessCommand", "process", Fulfilment::NAME),
    ("resendProcessCommand", "id", faults::INSTANCE_TO_RESEND),
    ("resendProcessCommand", "command", faults::COMMAND_TO_RESEND),
    ("showReactor", "reactor", WelcomeMail::NAME),
    ("pauseReactor", "reactor", WelcomeMail::NAME),
    ("resumeReactor", "reactor", WelcomeMail::NAME),
    ("listReactorDeadLetters", "reactor", WelcomeMail::NAME),
    ("retryEffect", "reactor", WelcomeMail::NAME),
    ("retryEffect", "event", faults::EFFECT_TO_RETRY),
    ("discardEffect", "reactor", WelcomeMail::NAME),
    ("discardEffect", "event", faults::EFFECT_TO_DISCARD),
];

/// Returns the HTTP interface of the shop.
#[must_use]
pub fn api() -> Api {
    interface(catalogue::routes().into(), orders::routes())
}

/// Returns the HTTP interface of a shop with a full-text index
/// ([`read_side::project_search`](crate::read_side::project_search)): the lists of products and
/// orders search it.
#[cfg(feature = "search")]
#[must_use]
pub fn api_with_search() -> Api {
    let products = in_place(catalogue::routes().into(), catalogue::search::route());
    interface(products, in_place(orders::routes(), orders::search::route()))
}

/// Returns the HTTP interface with its GraphQL form. Clients may read the schema, as they may read
/// the OpenAPI document.
#[cfg(feature = "graphql")]
#[must_use]
pub fn graphql(api: Api) -> GraphQl {
    GraphQl::over(api).introspection(Introspection::On)
}

/// Returns the applications of no tenant yet, behind this access. The pages that show the interface
/// need no credentials.
#[must_use]
pub fn tenants(access: Access) -> Tenants {
    let tenants = Tenants::new(access);
    #[cfg(feature = "graphql")]
    let tenants = tenants.public(["/graphiql", "/graphiql/*"]).late_sockets(["/graphql/ws"]);
    tenants
}

fn interface(catalogue: Vec<ApiRoute>, orders: Vec<ApiRoute>) -> Api {
    let api = Api::new("The shop", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .events(&registry::with_examples())
        .operated_under("/v1")
        .console("/v1", registry::events())
        .aggregate::<Account>()
        .aggregate::<CreditNote>()
        .aggregate::<EmailOwners>()
        .aggregate::<Greeting>()
        // Addresses are in its events alone.
        .aggregate_with_personal::<Order>(&[])
        .aggregate::<Product>()
        .aggregate_with_personal::<User>(&["profile"])
        .area("users", "Customers by name and e-mail address")
        .with("users", users::routes())
        .area("catalogue", "Products with their prices and stock")
        .with("catalogue", catalogue)
        .area("orders", "Orders from placement to delivery, credit notes, and statistics")
        .with("orders", orders)
        .area("accounts", "Money that the shop holds for others")
        .with("accounts", accounts::routes());
    with_samples(links().into_iter().fold(api, Api::link))
}

/// Returns the links between the resources of different domains.
fn links() -> [Link; 5] {
    let to_customer = |link: LinkSource| link.to("findUser").parameter("userId", "customerId");
    [
        to_customer(Link::of::<OrderSummary>("customer")),
        to_customer(Link::of::<OrderDetails>("customer")),
        to_customer(Link::of::<CreditNoteDetails>("customer")),
        Link::of::<Line>("product").to("findProduct").parameter("code", "productId"),
        Link::of::<UserDetails>("orders").to("listOrders").parameter("customer", "userId"),
    ]
}

/// Sets the names of this application, and those of its samples, as examples of the built-in
/// operations.
fn with_samples(api: Api) -> Api {
    let api = SAMPLES.iter().fold(api, |api, (operation, parameter, example)| {
        api.example(operation, parameter, *example)
    });
    let api = api.example("findEvents", "id", faults::EFFECT_TO_RETRY);
    api.example("skipProcessInput", "number", faults::INPUT_TO_SKIP).example(
        "listEvents",
        "category",
        [User::CATEGORY].as_slice(),
    )
}

/// Puts a route in place of the one with its method and path.
#[cfg(feature = "search")]
fn in_place(mut routes: Vec<ApiRoute>, route: ApiRoute) -> Vec<ApiRoute> {
    let same = routes.iter_mut().find(|other| other.place() == route.place());
    *same.expect("it takes the place of a list") = route;
    routes
}
