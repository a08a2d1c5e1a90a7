//! The shop's HTTP interface.
//!
//! Owns: [`api`], its GraphQL form, and the JSON form of the shop's values. Not here: the routes of
//! a domain, which are in that domain; the server, which is in the binary.

#[cfg(feature = "search")]
pub(crate) mod found;
pub(crate) mod values;

#[cfg(feature = "graphql")]
use gesta_graphql::{GraphQl, Introspection};
use gesta_http::{Access, Api, ApiRoute, Tenants};

use crate::{accounts, catalogue, orders, users};

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
    let tenants = tenants.public(["/graphiql", "/graphiql/*"]);
    tenants
}

fn interface(catalogue: Vec<ApiRoute>, orders: Vec<ApiRoute>) -> Api {
    Api::new("The shop", env!("CARGO_PKG_VERSION"))
        .operated_under("/v1")
        .with("users", users::routes())
        .with("catalogue", catalogue)
        .with("orders", orders)
        .with("accounts", accounts::routes())
}

/// Puts a route in place of the one with its method and path.
#[cfg(feature = "search")]
fn in_place(mut routes: Vec<ApiRoute>, route: ApiRoute) -> Vec<ApiRoute> {
    let same = routes.iter_mut().find(|other| other.place() == route.place());
    *same.expect("it takes the place of a list") = route;
    routes
}
