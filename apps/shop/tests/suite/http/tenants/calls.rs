//! A call of every operation, in an order in which they succeed.

use serde_json::{Value, json};

/// A call of an operation.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) operation: String,
    pub(super) method: String,
    /// The parameters of the path.
    pub(super) parameters: Vec<(&'static str, String)>,
    pub(super) path: String,
    pub(super) body: Value,
    /// The operation is a command of the domain, which takes an idempotency key.
    pub(super) takes_key: bool,
    /// The beginning of the ids in it.
    pub(super) prefix: String,
}

/// The contents of resources.
pub(super) struct Words {
    first_name: &'static str,
    last_name: &'static str,
    email: &'static str,
    product: &'static str,
    price: &'static str,
    city: &'static str,
    reference: &'static str,
}

impl Words {
    pub(super) fn of_alpha() -> Self {
        Self {
            first_name: "Alphonsine",
            last_name: "Zuckerbrot",
            email: "a@example.org",
            product: "Obsidian lamp",
            price: "4711",
            city: "Xanadu",
            reference: "zebra wages",
        }
    }

    /// The words of the second tenant, whose second user has the address of the first tenant's.
    pub(super) fn of_beta(prefix: &str) -> Self {
        Self {
            first_name: "Berta",
            last_name: "Lee",
            email: if prefix == super::ALPHA { "a@example.org" } else { "b@example.org" },
            product: "Mug",
            price: "3",
            city: "Bath",
            reference: "rent",
        }
    }
}

/// Returns the calls, each with the method and path of its route.
pub(super) fn calls(prefix: &str, words: &Words) -> Vec<Call> {
    let api = shop::http::api();
    let of_all = bodies(prefix, words).into_iter().chain(of_operators());
    let calls = of_all.map(|(operation, body)| {
        let route = api.routes().iter().find(|route| route.id() == operation);
        let route = route.unwrap_or_else(|| panic!("there is no operation {operation}"));
        let (method, template) = route.place();
        let parameters = parameters(prefix, operation, template);
        let path = parameters.iter().fold(template.to_owned(), |path, (name, value)| {
            path.replace(&format!("{{{name}}}"), value)
        });
        let is_ours =
            template.starts_with("/v1/") && !OPERATED.iter().any(|it| template.contains(it));
        Call {
            operation: operation.to_owned(),
            method: method.as_str().to_owned(),
            parameters,
            path,
            body,
            takes_key: is_ours && method.as_str() != "GET",
            prefix: prefix.to_owned(),
        }
    });
    let mut calls: Vec<Call> = calls.collect();
    for call in calls.iter_mut().filter(|call| call.operation == "listCreditNotes") {
        call.path = format!("{}?customer={prefix}-user", call.path);
    }
    // Searches, also by an index if the shop has one.
    for (operation, text) in [("listProducts", "obsidian"), ("listOrders", "xanadu")] {
        let list = calls.iter().find(|call| call.operation == operation).cloned();
        let mut search = list.expect("it is one of these");
        search.path = format!("{}?text={text}", search.path);
        calls.push(search);
    }
    calls
}

/// Parts of paths of the framework's own operations.
const OPERATED: [&str; 4] = ["/projections", "/dead-letters", "/processes", "/reactors"];

fn parameters(prefix: &str, operation: &str, template: &str) -> Vec<(&'static str, String)> {
    let known = [
        ("userId", format!("{prefix}-user")),
        ("customerId", format!("{prefix}-user")),
        ("code", format!("{prefix}-product")),
        ("accountId", format!("{prefix}-account")),
        ("orderId", format!("{prefix}-order")),
        ("creditNoteId", format!("{prefix}-note")),
        ("process", "welcome".to_owned()),
        ("reactor", "welcome-mail".to_owned()),
        ("name", "users".to_owned()),
        ("file", "swagger-ui.css".to_owned()),
        (
            "id",
            if operation.contains("DeadLetter") {
                "1".to_owned()
            } else {
                format!("{prefix}-user")
            },
        ),
        ("stream", format!("user-{prefix}-user")),
        ("category", "user".to_owned()),
        ("subject", format!("instance:{prefix}-user")),
        ("number", "1".to_owned()),
        ("timer", "1".to_owned()),
        ("command", "1".to_owned()),
        ("event", "1".to_owned()),
    ];
    let parameters =
        known.into_iter().filter(|(name, _)| template.contains(&format!("{{{name}}}")));
    let parameters: Vec<_> = parameters.collect();
    assert_eq!(parameters.len(), template.matches('{').count(), "{template}");
    parameters
}

fn bodies(prefix: &str, words: &Words) -> Vec<(&'static str, Value)> {
    let id = |what: &str| format!("{prefix}-{what}");
    let user = json!({
        "firstName": words.first_name, "lastName": words.last_name, "email": words.email,
    });
    let mut new_user = user.clone();
    new_user["userId"] = json!(id("user"));
    let money = json!({ "amount": "20", "reference": words.reference });
    let account = |name: &str| json!({ "accountId": id(name), "currency": "GBP" });
    let order = |name: &str| {
        json!({
            "orderId": id(name),
            "customerId": id("user"),
            "shippingAddress": { "city": words.city },
            "orderItems": [{ "productId": id("product"), "quantity": 2 }],
        })
    };
    let line = json!({ "productId": id("product"), "quantity": 1, "unitPrice": words.price });
    let note = json!({
        "creditNoteId": id("note"), "customerId": id("user"), "country": words.city, "lines": [line],
    });
    let product = json!({ "name": words.product, "price": words.price });
    let mut new_product = product.clone();
    new_product["productId"] = json!(id("product"));
    let transfer = json!({
        "from": id("account"), "to": id("other"), "amount": "1", "reference": words.reference,
    });
    vec![
        ("createUser", new_user),
        ("updateUser", user),
        ("findUser", Value::Null),
        ("listUsers", Value::Null),
        ("addProduct", new_product),
        ("updateProduct", product),
        ("changeStock", json!({ "type": "receive", "quantity": 10, "reason": words.reference })),
        ("findProduct", Value::Null),
        ("listProducts", Value::Null),
        ("openAccount", account("account")),
        ("openAccount", account("other")),
        ("depositMoney", money.clone()),
        ("withdrawMoney", json!({ "amount": "2", "reference": words.reference })),
        ("transferMoney", transfer),
        ("findAccount", Value::Null),
        ("listAccounts", Value::Null),
        ("listTransactions", Value::Null),
        ("placeOrder", order("order")),
        ("payOrder", json!({ "method": "invoice", "reference": words.reference })),
        ("shipOrder", json!({ "tracking": words.reference })),
        ("deliverOrder", json!({})),
        ("refundOrder", json!({ "amount": "1" })),
        ("cancelOrder", json!({ "reason": words.reference })),
        ("findOrder", Value::Null),
        ("listHistory", Value::Null),
        ("listOrders", Value::Null),
        ("findCustomerStatistics", Value::Null),
        ("issueCreditNote", note),
        ("findCreditNote", Value::Null),
        ("listCreditNotes", Value::Null),
    ]
}

/// The operations of the framework. Those whose outcome depends on the time they take come first.
fn of_operators() -> Vec<(&'static str, Value)> {
    let operations = "showDocument showAsyncDocument showPage showFile showProgram isLive isReady \
                      showMetrics describeStore countEvents listCategories listStreams readAll \
                      readStream describeStream findEvents listAggregates showAggregate listOutstandingCommands listDueTimers listEventTypes \
                      listProjections \
                      listDeadLetters tryDeadLetter retryDeadLetter discardDeadLetter pauseProjection \
                      resumeProjection compareRebuild confirmSwitch rollBackProjection dropOldRows listProcesses showProcess listInstances \
                      showInstance listSetAside pauseProcess resumeProcess retryProcess \
                      skipProcessInput fireProcessTimer resendProcessCommand cancelProcess \
                      listReactors showReactor listReactorDeadLetters pauseReactor resumeReactor \
                      retryEffect discardEffect rebuildProjection deleteUser";
    operations.split_ascii_whitespace().map(|operation| (operation, Value::Null)).collect()
}
