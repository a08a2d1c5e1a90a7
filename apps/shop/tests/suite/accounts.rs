//! Accounts: commands, projections and queries together.

use gesta::{ExecuteError, Gesta, Receipt, Rejection};
use gesta_http::PageRequest;
use shop::{
    accounts::{
        Currency, DepositMoney, FindAccount, ListTransactions, OpenAccount, TransactionType,
        TransferMoney, WithdrawMoney,
    },
    id::AccountId,
    money::Money,
};

use super::opened::{self, money, noon};

fn id(text: &str) -> AccountId {
    AccountId::new(text).unwrap()
}

async fn open(shop: &Gesta, account: &str, amount: &str) -> Receipt {
    let currency = Currency::new("GBP").unwrap();
    let open = OpenAccount { account_id: id(account), currency, occurred_at: noon(1) };
    shop.execute(open).await.unwrap();
    let deposit = DepositMoney {
        account_id: id(account),
        amount: money(amount),
        reference: "wages".to_owned(),
        source: Some("work".to_owned()),
        occurred_at: noon(1),
    };
    shop.execute(deposit).await.unwrap()
}

fn transfer(from: &str, to: &str, amount: &str) -> TransferMoney {
    let (from, to, amount) = (id(from), id(to), money(amount));
    TransferMoney { from, to, amount, reference: "lunch".to_owned(), occurred_at: noon(2) }
}

async fn balance(shop: &Gesta, account: &str, receipt: &Receipt) -> Money {
    let find = FindAccount { account_id: id(account) };
    shop.ask(find).at_least(receipt).await.unwrap().unwrap().balance
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moves_from_one_account_to_the_other_in_one_step() {
    let shop = opened::in_memory().await;
    open(&shop, "ann", "5").await;
    open(&shop, "bob", "1").await;
    let receipt = shop.execute(transfer("ann", "bob", "2.5")).await.unwrap();
    assert_eq!(receipt.revisions.len(), 2, "one append for both");
    assert_eq!(balance(&shop, "ann", &receipt).await, money("2.5"));
    assert_eq!(balance(&shop, "bob", &receipt).await, money("3.5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_take_at_once_nobody_goes_below_zero_and_nothing_is_lost() {
    let shop = opened::in_memory().await;
    open(&shop, "ann", "5").await;
    open(&shop, "bob", "5").await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (from, to) = if number % 4 == 0 { ("bob", "ann") } else { ("ann", "bob") };
        let (shop, transfer) = (shop.clone(), transfer(from, to, "1.5"));
        asked.spawn(async move { shop.execute(transfer).await });
    }
    let answers = asked.join_all().await;
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let ExecuteError::Rejected(rejection) = error else { panic!("{error}") };
        assert_eq!(rejection.code(), "insufficient-funds");
    }
    let last = answers.iter().flatten().max_by_key(|receipt| receipt.position).unwrap();
    let (ann, bob) = (balance(&shop, "ann", last).await, balance(&shop, "bob", last).await);
    assert!(ann >= Money::ZERO && bob >= Money::ZERO, "{ann} and {bob}");
    assert_eq!(ann + bob, money("10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_tell_how_a_balance_came_about_the_last_one_first() {
    let shop = opened::in_memory().await;
    open(&shop, "ann", "5").await;
    open(&shop, "bob", "1").await;
    shop.execute(transfer("ann", "bob", "2")).await.unwrap();
    let withdraw = WithdrawMoney {
        account_id: id("ann"),
        amount: money("3"),
        reference: "rent".to_owned(),
        destination: Some("landlord".to_owned()),
        occurred_at: noon(3),
    };
    let receipt = shop.execute(withdraw).await.unwrap();

    let list = ListTransactions { account_id: id("ann"), page: PageRequest::first(2) };
    let page = shop.ask(list.clone()).at_least(&receipt).await.unwrap().unwrap();
    let said: Vec<_> = page
        .items
        .iter()
        .map(|one| (one.transaction_type, one.amount, one.balance, one.counterparty.as_deref()))
        .collect();
    assert_eq!(
        said,
        [
            (TransactionType::Withdrawal, money("-3"), Money::ZERO, Some("landlord")),
            (TransactionType::TransferSent, money("-2"), money("3"), Some("bob")),
        ]
    );
    let page = PageRequest::after(page.next.unwrap().parse().unwrap(), 2);
    let rest = shop.ask(ListTransactions { page, ..list }).await.unwrap().unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_never_opened_has_no_transactions() {
    let shop = opened::in_memory().await;
    let list = ListTransactions { account_id: id("ann"), page: PageRequest::default() };
    assert_eq!(shop.ask(list).await.unwrap(), None);
}
