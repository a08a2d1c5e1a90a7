//! An example of every event, for the documents of the HTTP interface and the lock file.

use gesta::{Event, Registry};
use serde_json::{Value, json};

use crate::{
    accounts::{AccountOpened, MoneyDeposited, MoneyWithdrawn, TransferReceived, TransferSent},
    catalogue::{
        ProductAdded, ProductRenamed, ProductRepriced, StockAdjusted, StockReceived, StockReleased,
        StockReserved,
    },
    orders::{
        OrderCancelled, OrderDelivered, OrderPaid, OrderPlaced, OrderRefunded, OrderShipped,
        credit_notes::CreditNoteIssued,
    },
    users::{UserCreated, UserDeleted, UserUpdated, UserWelcomed},
};

/// Adds an example of every event.
pub(super) fn added_to(registry: Registry) -> Registry {
    orders(accounts(catalogue(users(registry))))
}

fn example<E: Event>(registry: Registry, json: Value) -> Registry {
    let event: E = serde_json::from_value(json).expect("an example is an event");
    registry.example(&event).expect("an event has a JSON form")
}

fn users(registry: Registry) -> Registry {
    let mail = |name: &str| format!("{name}@example.org");
    let ann = json!({"userId": "1", "firstName": "Ann", "lastName": "Lee", "email": mail("ann")});
    let registry = example::<UserCreated>(registry, ann);
    let li = json!({"userId": "1", "firstName": "Ann", "lastName": "Li", "email": mail("li"),
        "freedEmail": mail("ann")});
    let registry = example::<UserUpdated>(registry, li);
    let registry = example::<UserWelcomed>(registry, json!({"userId": "1"}));
    example::<UserDeleted>(registry, json!({"userId": "1", "freedEmail": mail("li")}))
}

fn catalogue(registry: Registry) -> Registry {
    let at = "2011-01-04T10:00:00Z";
    let mug = json!({"productId": "mug", "name": "Mug", "price": "2.5",
        "stockKeeping": "tracked", "occurredAt": at});
    let registry = example::<ProductAdded>(registry, mug);
    let renamed = json!({"productId": "mug", "name": "Red mug", "occurredAt": at});
    let registry = example::<ProductRenamed>(registry, renamed);
    let repriced = json!({"productId": "mug", "price": "3", "occurredAt": at});
    let registry = example::<ProductRepriced>(registry, repriced);
    let came = json!({"productId": "mug", "quantity": 6, "reason": "new", "occurredAt": at});
    let registry = example::<StockReceived>(registry, came);
    let broke = json!({"productId": "mug", "quantity": -1, "reason": "broke", "occurredAt": at});
    let registry = example::<StockAdjusted>(registry, broke);
    let aside = json!({"productId": "mug", "orderId": "1", "quantity": 2});
    let registry = example::<StockReserved>(registry, aside.clone());
    example::<StockReleased>(registry, aside)
}

fn accounts(registry: Registry) -> Registry {
    let at = "2011-01-04T10:00:00Z";
    let opened = json!({"accountId": "ann", "currency": "GBP", "occurredAt": at});
    let registry = example::<AccountOpened>(registry, opened);
    let came = json!({"accountId": "ann", "amount": "5", "reference": "wages", "source": "work",
        "occurredAt": at});
    let registry = example::<MoneyDeposited>(registry, came);
    let went = json!({"accountId": "ann", "amount": "5", "reference": "rent",
        "destination": "landlord", "occurredAt": at});
    let registry = example::<MoneyWithdrawn>(registry, went);
    let sent = json!({"accountId": "ann", "to": "bob", "amount": "5", "reference": "lunch",
        "occurredAt": at});
    let registry = example::<TransferSent>(registry, sent);
    let received = json!({"accountId": "bob", "from": "ann", "amount": "5", "reference": "lunch",
        "occurredAt": at});
    example::<TransferReceived>(registry, received)
}

fn orders(registry: Registry) -> Registry {
    let at = "2011-01-04T10:00:00Z";
    let line = json!({"productId": "mug", "unitPrice": "2.5", "quantity": 10});
    let placed = json!({"orderId": "1", "customerId": "17850",
        "shippingAddress": {"street": "High Street 1", "city": "York", "postalCode": "YO1",
            "country": "United Kingdom"},
        "lines": [line],
        "discounts": [{"type": "percentage", "value": "10"}, {"type": "fixed", "value": "0.5"}],
        "amounts": {"subtotal": "25", "discount": "3", "total": "22"},
        "paymentAccountId": "ann", "occurredAt": at});
    let registry = example::<OrderPlaced>(registry, placed);
    let paid = json!({"orderId": "1", "method": "card", "reference": "42", "amount": "22",
        "occurredAt": at});
    let registry = example::<OrderPaid>(registry, paid);
    let shipped = json!({"orderId": "1", "tracking": "JJD0001", "occurredAt": at});
    let registry = example::<OrderShipped>(registry, shipped);
    let registry = example::<OrderDelivered>(registry, json!({"orderId": "1", "occurredAt": at}));
    let cancelled = json!({"orderId": "1", "reason": "late", "occurredAt": at});
    let registry = example::<OrderCancelled>(registry, cancelled);
    let refunded = json!({"orderId": "1", "amount": "2", "left": "20", "occurredAt": at});
    let registry = example::<OrderRefunded>(registry, refunded);
    let note = json!({"creditNoteId": "C1", "customerId": "17850", "country": "France",
        "lines": [line], "total": "25", "occurredAt": at});
    example::<CreditNoteIssued>(registry, note)
}
