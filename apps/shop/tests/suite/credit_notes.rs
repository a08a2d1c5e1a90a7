//! Credit notes: commands, projections and queries together.

use gesta::{Gesta, Receipt};
use gesta_http::PageRequest;
use shop::{
    id::{CreditNoteId, CustomerId, ProductId},
    orders::{
        Line,
        credit_notes::{FindCreditNote, IssueCreditNote, ListCreditNotes},
        sales::MakeReport,
    },
};

use super::opened::{self, money, noon, pieces};

fn id(text: &str) -> CreditNoteId {
    CreditNoteId::new(text).unwrap()
}

async fn issue(shop: &Gesta, note: &str, customer: Option<&str>) -> Receipt {
    let line = |price: &str, number| Line {
        product_id: ProductId::new("mug").unwrap(),
        unit_price: money(price),
        quantity: pieces(number),
    };
    let issue = IssueCreditNote {
        credit_note_id: id(note),
        customer_id: customer.map(|customer| CustomerId::new(customer).unwrap()),
        country: Some("France".to_owned()),
        lines: vec![line("2.55", 2), line("0.001", 1)],
        occurred_at: noon(5),
    };
    shop.execute(issue).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_note_is_found_with_its_lines() {
    let shop = opened::in_memory().await;
    let receipt = issue(&shop, "C1", None).await;
    let find = |note| FindCreditNote { credit_note_id: id(note) };
    let found = shop.ask(find("C1")).at_least(&receipt).await.unwrap().unwrap();
    assert_eq!((found.total, found.lines.len()), (money("5.101"), 2));
    assert_eq!((found.lines[0].unit_price, found.issued_at), (money("2.55"), noon(5)));
    assert_eq!(shop.ask(find("C2")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_has_a_list_of_credit_notes() {
    let shop = opened::in_memory().await;
    issue(&shop, "C2", Some("ann")).await;
    issue(&shop, "C3", Some("bob")).await;
    let receipt = issue(&shop, "C1", Some("ann")).await;
    let customer_id = CustomerId::new("ann").unwrap();
    let list = ListCreditNotes { customer_id: Some(customer_id), page: PageRequest::first(1) };
    let first = shop.ask(list.clone()).at_least(&receipt).await.unwrap();
    assert_eq!((&first.items[0].credit_note_id, first.next.as_deref()), (&id("C1"), Some("C1")));
    let rest =
        shop.ask(ListCreditNotes { page: PageRequest::after(id("C1"), 1), ..list }).await.unwrap();
    assert_eq!((&rest.items[0].credit_note_id, rest.next), (&id("C2"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credit_note_without_an_order_makes_the_net_revenue_less() {
    let shop = opened::in_memory().await;
    let receipt = issue(&shop, "C1", Some("ann")).await;
    let report = shop.ask(MakeReport).at_least(&receipt).await.unwrap();
    assert_eq!((report.credit_notes, report.customers), (1, 1));
    assert_eq!((report.refunded, report.net_revenue), (money("5.101"), money("-5.101")));
    assert_eq!(report.by_country[0].country, "France");
}
