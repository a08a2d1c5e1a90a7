//! Entities that the examples of the HTTP interface name, so that each can be sent as it is.
//!
//! Owns: their ids, [`prepare`], by which `shop demo` creates them, and the form of an [`Example`].
//! Invariant: preparing them again changes nothing, whatever has happened to them since.
//!
//! Not here: the examples themselves, which are with the types of requests and with the routes; the
//! faults for the operator's examples ([`faults`]).

pub mod faults;

use gesta::{CommandId, Decide, ExecuteError, Gesta, store::InvalidName};
use gesta_http::Api;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    accounts::{DepositMoney, OpenAccount},
    catalogue::{AddProduct, ReceiveStock},
    orders::{
        DispatchOrder, Order, PayOrder, PlaceOrder, credit_notes::IssueCreditNote, pieces_of,
    },
    users::CreateUser,
};

/// A user, who is also a customer.
pub const USER: &str = "ann";
/// The stream of the user's events.
pub const STREAM: &str = "user-ann";
/// A user who can be deleted.
pub const USER_TO_DELETE: &str = "dan";
/// A product in stock.
pub const PRODUCT: &str = "mug";
/// An account with money.
pub const ACCOUNT: &str = "ann";
/// Another account in the same currency.
pub const OTHER_ACCOUNT: &str = "bob";
/// A placed order.
pub const ORDER: &str = "sample-order";
/// An order that is not paid.
pub const ORDER_TO_PAY: &str = "sample-to-pay";
/// An order that is paid.
pub const ORDER_TO_SHIP: &str = "sample-to-ship";
/// An order that is shipped.
pub const ORDER_TO_DELIVER: &str = "sample-to-deliver";
/// An order that can be cancelled.
pub const ORDER_TO_CANCEL: &str = "sample-to-cancel";
/// An order that is paid.
pub const ORDER_TO_REFUND: &str = "sample-to-refund";
/// A credit note.
pub const CREDIT_NOTE: &str = "sample-credit-note";

/// An error of the preparation.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare {name}")]
pub struct SampleError {
    /// Name of the entity.
    name: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl SampleError {
    fn of<E>(name: &str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let name = name.to_owned();
        move |source| Self { name, source: source.into() }
    }
}

/// The example of a parameter of an operation.
#[derive(Clone, Debug)]
pub struct Example {
    operation: &'static str,
    parameter: &'static str,
    value: Value,
}

impl Example {
    fn new(operation: &'static str, parameter: &'static str, value: impl Into<Value>) -> Self {
        Self { operation, parameter, value: value.into() }
    }

    /// Puts this example in place of the one that an interface has.
    #[must_use]
    pub fn of(self, api: Api) -> Api {
        api.example(self.operation, self.parameter, self.value)
    }
}

/// Business time of all samples. Fixed, because a repeated command must be the same.
const AT: &str = "2011-12-12T09:00:00Z";

/// Creates the entities.
///
/// # Errors
/// [`SampleError`] if a command is refused or cannot be executed.
pub async fn prepare(gesta: &Gesta) -> Result<(), SampleError> {
    for (id, first_name) in [(USER, "Ann"), (USER_TO_DELETE, "Dan")] {
        let user = json!({ "userId": id, "firstName": first_name, "lastName": "Lee" });
        execute::<CreateUser>(gesta, &format!("user-{id}"), user).await?;
    }
    let mug = json!({ "productId": PRODUCT, "name": "Mug", "price": "2.5", "occurredAt": AT });
    execute::<AddProduct>(gesta, "product", mug).await?;
    let delivery = json!({ "productId": PRODUCT, "quantity": 1_000, "occurredAt": AT });
    execute::<ReceiveStock>(gesta, "stock", delivery).await?;
    for id in [ACCOUNT, OTHER_ACCOUNT] {
        let account = json!({ "accountId": id, "currency": "GBP", "occurredAt": AT });
        execute::<OpenAccount>(gesta, &format!("account-{id}"), account).await?;
    }
    let wages = json!({
        "accountId": ACCOUNT, "amount": "1000", "reference": "wages", "occurredAt": AT,
    });
    execute::<DepositMoney>(gesta, "deposit", wages).await?;
    for id in [ORDER, ORDER_TO_PAY, ORDER_TO_CANCEL] {
        place(gesta, id).await?;
    }
    for id in [ORDER_TO_SHIP, ORDER_TO_REFUND, ORDER_TO_DELIVER] {
        place(gesta, id).await?;
        let payment = json!({ "orderId": id, "method": "invoice", "occurredAt": AT });
        execute::<PayOrder>(gesta, &format!("pay-{id}"), payment).await?;
    }
    dispatch(gesta, ORDER_TO_DELIVER).await?;
    let line = json!({ "productId": PRODUCT, "unitPrice": "2.5", "quantity": 1 });
    let note = json!({
        "creditNoteId": CREDIT_NOTE, "customerId": USER, "lines": [line], "occurredAt": AT,
    });
    execute::<IssueCreditNote>(gesta, "credit-note", note).await
}

async fn place(gesta: &Gesta, id: &str) -> Result<(), SampleError> {
    // With its own price: that of the catalogue may change before the order is prepared again.
    let item = json!({ "productId": PRODUCT, "unitPrice": "2.5", "quantity": 2 });
    let order = json!({
        "orderId": id, "customerId": USER, "orderItems": [item], "occurredAt": AT,
    });
    execute::<PlaceOrder>(gesta, &format!("place-{id}"), order).await
}

async fn dispatch(gesta: &Gesta, id: &str) -> Result<(), SampleError> {
    let failed = SampleError::of(id);
    let parsed = id.parse().map_err(SampleError::of(id))?;
    let order = gesta.load::<Order>(&parsed).await.map_err(failed)?;
    let pieces = order.map_or_else(Default::default, |order| pieces_of(order.state.lines()));
    let pieces: Value = json!(pieces);
    let shipment = json!({ "orderId": id, "pieces": pieces, "occurredAt": AT });
    execute::<DispatchOrder>(gesta, &format!("ship-{id}"), shipment).await
}

/// Executes a command once, in whatever program run. `key` identifies it among all samples.
async fn execute<C>(gesta: &Gesta, key: &str, command: Value) -> Result<(), SampleError>
where
    C: Decide + DeserializeOwned,
    ExecuteError<C::Rejection>: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let command: C = serde_json::from_value(command).map_err(SampleError::of(key))?;
    let id = CommandId::new(format!("sample-{key}"));
    let id = id.map_err(|error: InvalidName| SampleError::of(key)(error))?;
    let execute = gesta.execute(command).actor("demo").command_id(id.as_str());
    execute.await.map_err(SampleError::of(key))?;
    Ok(())
}
