//! Users: commands, projections and queries together.

use gesta::{ExecuteError, Gesta, Receipt, Rejection};
use gesta_http::PageRequest;
use shop::{
    id::UserId,
    users::{CreateUser, DeleteUser, Email, FindUser, ListUsers, UpdateUser, WelcomeUser},
};

use super::opened;

fn id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

fn create(user: &str, email: Option<&str>) -> CreateUser {
    CreateUser {
        user_id: id(user),
        first_name: "Ann".to_owned(),
        last_name: "Lee".to_owned(),
        email: email.map(|email| Email::new(email).unwrap()),
    }
}

async fn created(shop: &Gesta, user: &str, email: Option<&str>) -> Receipt {
    shop.execute(create(user, email)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_found_as_soon_as_it_was_created() {
    let shop = opened::in_memory().await;
    let receipt = created(&shop, "ann", Some("ann@example.org")).await;
    let found = shop.ask(FindUser { user_id: id("ann") }).at_least(&receipt).await.unwrap();
    let found = found.unwrap();
    assert_eq!(found.email.as_deref(), Some("ann@example.org"));
    assert!(!found.welcomed);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_users_who_want_one_address_at_once_one_gets_it() {
    let shop = opened::in_memory().await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..16 {
        let shop = shop.clone();
        let create = create(&format!("user {number}"), Some("a@example.org"));
        asked.spawn(async move { shop.execute(create).await });
    }
    let answers = asked.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for answer in answers.into_iter().filter_map(Result::err) {
        let ExecuteError::Rejected(rejection) = answer else { panic!("{answer}") };
        assert_eq!(rejection.code(), "email-taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_goes_from_one_user_to_the_next() {
    let shop = opened::in_memory().await;
    created(&shop, "ann", Some("a@example.org")).await;
    let update = UpdateUser {
        user_id: id("ann"),
        first_name: "Ann".to_owned(),
        last_name: "Lee".to_owned(),
        email: Some(Email::new("ann@example.org").unwrap()),
    };
    shop.execute(update).await.unwrap();
    created(&shop, "bob", Some("a@example.org")).await;
    shop.execute(DeleteUser { user_id: id("bob") }).await.unwrap();
    created(&shop, "cay", Some("a@example.org")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_in_no_list() {
    let shop = opened::in_memory().await;
    for user in ["ann", "bob", "cay"] {
        created(&shop, user, None).await;
    }
    shop.execute(WelcomeUser { user_id: id("ann") }).await.unwrap();
    let receipt = shop.execute(DeleteUser { user_id: id("bob") }).await.unwrap();

    let first = ListUsers { page: PageRequest::first(1), ..ListUsers::default() };
    let first = shop.ask(first).at_least(&receipt).await.unwrap();
    assert_eq!((first.items[0].user_id.as_str(), first.items[0].welcomed), ("ann", true));
    let after = id(first.next.as_deref().unwrap());
    let second = ListUsers { page: PageRequest::after(after, 1), ..ListUsers::default() };
    let second = shop.ask(second).await.unwrap();
    assert_eq!((second.items[0].user_id.as_str(), second.next), ("cay", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_never_was_is_not_found() {
    let shop = opened::in_memory().await;
    let error = shop.execute(WelcomeUser { user_id: id("nobody") }).await.unwrap_err();
    assert!(matches!(error, ExecuteError::NotFound { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_stream_an_operator_deleted_is_in_no_list_and_may_be_created_anew() {
    use gesta::store::{DeleteStream, ExpectedRevision};

    let shop = opened::in_memory().await;
    let receipt = created(&shop, "ann", Some("a@example.org")).await;
    shop.ask(FindUser { user_id: id("ann") }).at_least(&receipt).await.unwrap().unwrap();
    let stream = gesta::StreamName::new("user-ann").unwrap();
    let delete = DeleteStream::new(stream, ExpectedRevision::Any);
    let deleted = shop.store().delete_stream(delete).await.unwrap();
    let found = shop.ask(FindUser { user_id: id("ann") }).at_least_position(deleted.position);
    assert_eq!(found.await.unwrap(), None);
    let receipt = created(&shop, "ann", Some("b@example.org")).await;
    let found = shop.ask(FindUser { user_id: id("ann") }).at_least(&receipt).await.unwrap();
    assert_eq!(found.unwrap().email.as_deref(), Some("b@example.org"));
    assert!(shop.dead_letters().await.unwrap().is_empty());
}
