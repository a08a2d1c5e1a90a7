//! Leases pass every clause. The clocks of nodes cannot be moved, so leases are.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use gesta_dynamodb::DynamoStore;
use gesta_store::{
    Leases,
    conformance::{
        block_on,
        leases::{CLAUSES, LeaseClause, LeaseFixture},
    },
};

use crate::server::{fresh_url, key, number, table, with_client};

/// Ends all terms earlier by a duration.
fn pass(url: &str, duration: Duration) {
    let table = table(url, "events");
    let micros = u64::try_from(duration.as_micros()).unwrap();
    with_client(url, async |client| {
        let leases = client.query().table_name(&table).key_condition_expression("pk = :pk");
        let leases = leases.expression_attribute_values(":pk", AttributeValue::S("leases".into()));
        for lease in leases.send().await.unwrap().items.unwrap_or_default() {
            let change = client.update_item().table_name(&table);
            let change =
                change.set_key(Some(key("leases", lease.get("sk").unwrap().as_s().unwrap())));
            let change = change.update_expression("SET ex = ex - :micros");
            change.expression_attribute_values(":micros", number(micros)).send().await.unwrap();
        }
    });
}

fn fixture(endpoint: &str) -> LeaseFixture {
    let url = fresh_url(endpoint);
    let moved = url.clone();
    // The table is there before a clause passes time.
    drop(block_on(DynamoStore::connect(&url)).unwrap());
    let connect =
        move || -> Box<dyn Leases> { Box::new(block_on(DynamoStore::connect(&url)).unwrap()) };
    LeaseFixture::new(connect, move |duration| pass(&moved, duration))
}

#[test]
fn leases_pass_every_clause() {
    let Some(endpoint) = gesta_services::url_or_skip("dynamodb") else { return };
    let fails = |clause: &LeaseClause| {
        catch_unwind(AssertUnwindSafe(|| clause.check(&fixture(&endpoint)))).is_err()
    };
    let failed: Vec<_> = CLAUSES.iter().filter(|clause| fails(clause)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
