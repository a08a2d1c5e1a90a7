//! The rights of each role in the shop, and the owners of its resources.
//!
//! Owns: [`rules`] and [`Customers`]. Invariants: a customer's actor is the customer's id; a
//! customer sees and changes only what has this id. Accounts have no owner in this domain, so
//! customers do not reach them, also not by paying from one.
//!
//! Not here: the credentials, which the binary reads from a file.

use gesta::{AsOf, Gesta};
use gesta_http::{AccessRole, AccessRules, OwnedRequest, Ownership, Problem, Right};
use serde_json::Value;

use crate::{
    id::{CreditNoteId, OrderId},
    orders::{OrderCard, credit_notes::FindCreditNote},
};

/// The role of customers.
pub const CUSTOMER: &str = "customer";
/// The role of people who work in the shop.
pub const CLERK: &str = "clerk";
/// The role of people who run the program.
pub const OPERATOR: &str = "operator";

/// The role of people who look at what has happened.
pub const AUDITOR: &str = "auditor";

/// All roles.
pub const ROLES: [&str; 4] = [CUSTOMER, CLERK, OPERATOR, AUDITOR];

/// Returns the rules of the shop.
///
/// | role | may |
/// | --- | --- |
/// | customer | see products; the own user, orders and credit notes; place and cancel orders |
/// | clerk | every command and query, histories, and the feed without internal streams |
/// | operator | projections, processes, reactors, rebuilds, the whole feed, stored events, names |
/// | auditor | see what an operator sees, with names and addresses masked |
#[must_use]
pub fn rules() -> AccessRules {
    let customer = AccessRole::named(CUSTOMER)
        .may(["listProducts", "findProduct"])
        .may_own(["findUser", "updateUser"])
        .may_own(["placeOrder", "listOrders", "findOrder", "cancelOrder"])
        .may_own(["findCustomerStatistics", "listCreditNotes", "findCreditNote"]);
    let clerk =
        AccessRole::named(CLERK).has([Right::Command, Right::Query, Right::History, Right::Feed]);
    let operator = AccessRole::named(OPERATOR).has([
        Right::Status,
        Right::Operate,
        Right::Rebuild,
        Right::Feed,
        Right::RawFeed,
        Right::Inspect,
        Right::Personal,
    ]);
    let auditor = AccessRole::named(AUDITOR).has([
        Right::Status,
        Right::Feed,
        Right::RawFeed,
        Right::Inspect,
    ]);
    AccessRules::new([customer, clerk, operator, auditor])
}

/// The ownership of customers: of the user, orders and credit notes with the customer's id.
#[derive(Clone, Copy, Debug)]
pub struct Customers;

impl Ownership for Customers {
    async fn owns(&self, gesta: &Gesta, request: &OwnedRequest) -> Result<bool, Problem> {
        let actor = Some(request.actor());
        Ok(match request.operation() {
            "findUser" | "updateUser" => request.path("userId") == actor,
            "findCustomerStatistics" => request.path("customerId") == actor,
            "listOrders" | "listCreditNotes" => request.query("customer") == actor,
            "placeOrder" => request.body_text("customerId") == actor && is_plain(request),
            "findOrder" | "cancelOrder" => {
                customer_of_order(gesta, request).await?.as_deref() == actor
            }
            "findCreditNote" => customer_of_credit_note(gesta, request).await?.as_deref() == actor,
            _ => false,
        })
    }
}

/// Returns whether an order is one that customers may place: without a discount, and without an
/// account, which may be another one's.
fn is_plain(request: &OwnedRequest) -> bool {
    let Some(body) = request.body() else { return false };
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    ["discounts", "paymentAccountId"].into_iter().all(|name| body.get(name).is_none_or(is_empty))
}

async fn customer_of_order(
    gesta: &Gesta,
    request: &OwnedRequest,
) -> Result<Option<String>, Problem> {
    let Some(Ok(id)) = request.path("orderId").map(OrderId::new) else { return Ok(None) };
    let order = gesta.read_on_demand::<OrderCard>(&id, AsOf::Now).await?;
    let customer = order.and_then(|order| order.row).and_then(|order| order.customer_id);
    Ok(customer.map(|customer| customer.as_str().to_owned()))
}

async fn customer_of_credit_note(
    gesta: &Gesta,
    request: &OwnedRequest,
) -> Result<Option<String>, Problem> {
    let id = request.path("creditNoteId").map(CreditNoteId::new);
    let Some(Ok(credit_note_id)) = id else { return Ok(None) };
    let note = gesta.ask(FindCreditNote { credit_note_id }).await?;
    let customer = note.and_then(|note| note.customer_id);
    Ok(customer.map(|customer| customer.as_str().to_owned()))
}
