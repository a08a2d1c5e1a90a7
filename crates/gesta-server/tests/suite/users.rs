//! The calls of the service `Users`.

use std::sync::Arc;

use gesta_store::memory::MemoryStore;
use tonic::{Code, Status};

use crate::{
    client::{
        Read, assert_exception, event, trailer,
        users::{details_resp::UserDetails, *},
    },
    scene::Scene,
    secured::{Secured, Users, basic},
};

async fn details(users: &mut Users, login: &str) -> Result<UserDetails, Status> {
    let options = details_req::Options { login_name: login.to_owned() };
    let request = DetailsReq { options: Some(options) };
    let mut answer = users.details(request).await?.into_inner();
    Ok(answer.message().await?.unwrap().user_details.unwrap())
}

/// Tries to log in and read.
async fn code_of_login(scene: &Secured, login: &str, password: &str) -> Code {
    let mut client = scene.client(login, password).await;
    match Read::stream("order-1").run(&mut client).await {
        Ok(_) => Code::Ok,
        Err(status) => status.code(),
    }
}

fn disable(login: &str) -> DisableReq {
    DisableReq { options: Some(disable_req::Options { login_name: login.to_owned() }) }
}

fn delete(login: &str) -> DeleteReq {
    DeleteReq { options: Some(delete_req::Options { login_name: login.to_owned() }) }
}

#[tokio::test]
async fn a_created_user_logs_in_and_has_details() {
    let scene = Secured::start().await;
    scene.create_user("ann", &["sales"]).await;
    assert_eq!(code_of_login(&scene, "ann", "changeit").await, Code::Ok);
    let mut users = scene.users("ann", "changeit").await;
    let ann = details(&mut users, "ann").await.unwrap();
    assert_eq!((ann.login_name.as_str(), ann.full_name.as_str()), ("ann", "ann of the tests"));
    assert_eq!(ann.groups, ["sales"]);
    assert!(!ann.disabled && ann.last_updated.unwrap().ticks_since_epoch > 0);
    let denied = details(&mut users, "admin").await.unwrap_err();
    assert_exception(&denied, Code::PermissionDenied, "access-denied");
}

#[tokio::test]
async fn created_users_are_in_a_stream_that_administrators_read() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut admin = scene.admin().await;
    let read = Read::stream("$users").run(&mut admin).await.unwrap();
    let created = |content| {
        let record = event(content).event.as_ref().unwrap();
        assert_eq!(record.metadata["type"], "$User");
        String::from_utf8(record.data.to_vec()).unwrap()
    };
    assert_eq!(read.iter().map(created).collect::<Vec<_>>(), ["admin", "ops", "ann"]);
    let mut ann = scene.client("ann", "changeit").await;
    let denied = Read::stream("$users").run(&mut ann).await.unwrap_err();
    assert_exception(&denied, Code::PermissionDenied, "access-denied");
}

#[tokio::test]
async fn an_administrator_lists_all_users() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut users = scene.admins_users().await;
    let mut answer = users.details(DetailsReq { options: None }).await.unwrap().into_inner();
    let mut logins = Vec::new();
    while let Some(user) = answer.message().await.unwrap() {
        logins.push(user.user_details.unwrap().login_name);
    }
    assert_eq!(logins, ["admin", "ann", "ops"]);
}

#[tokio::test]
async fn a_disabled_user_is_out_at_once_and_back_when_enabled() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    assert_eq!(code_of_login(&scene, "ann", "changeit").await, Code::Ok);
    let mut users = scene.admins_users().await;
    users.disable(disable("ann")).await.unwrap();
    assert_eq!(code_of_login(&scene, "ann", "changeit").await, Code::Unauthenticated);
    let enable = enable_req::Options { login_name: "ann".to_owned() };
    users.enable(EnableReq { options: Some(enable) }).await.unwrap();
    assert_eq!(code_of_login(&scene, "ann", "changeit").await, Code::Ok);
}

#[tokio::test]
async fn a_user_changes_their_own_password_and_an_administrator_resets_it() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    scene.create_user("bob", &[]).await;
    let mut users = scene.users("ann", "changeit").await;
    let change = |login: &str, current: &str| ChangePasswordReq {
        options: Some(change_password_req::Options {
            login_name: login.to_owned(),
            current_password: current.to_owned(),
            new_password: "changed it".to_owned(),
        }),
    };
    for wrong in [change("ann", "changeit?"), change("bob", "changeit")] {
        let denied = users.change_password(wrong).await.unwrap_err();
        assert_exception(&denied, Code::PermissionDenied, "access-denied");
    }
    users.change_password(change("ann", "changeit")).await.unwrap();
    assert_eq!(code_of_login(&scene, "ann", "changeit").await, Code::Unauthenticated);
    assert_eq!(code_of_login(&scene, "ann", "changed it").await, Code::Ok);
    let reset = |password: &str| ResetPasswordReq {
        options: Some(reset_password_req::Options {
            login_name: "ann".to_owned(),
            new_password: password.to_owned(),
        }),
    };
    let mut admin = scene.admins_users().await;
    let short = admin.reset_password(reset("short")).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    assert!(!short.message().contains("short\""), "{short}");
    admin.reset_password(reset("reset it now")).await.unwrap();
    assert_eq!(code_of_login(&scene, "ann", "reset it now").await, Code::Ok);
}

#[tokio::test]
async fn an_updated_user_has_the_rights_of_their_new_groups() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut ann = scene.client("ann", "changeit").await;
    assert!(Read::all().run(&mut ann).await.is_err());
    let options = update_req::Options {
        login_name: "ann".to_owned(),
        password: String::new(),
        full_name: "Ann".to_owned(),
        groups: vec!["$admins".to_owned()],
    };
    scene.admins_users().await.update(UpdateReq { options: Some(options) }).await.unwrap();
    Read::all().run(&mut ann).await.unwrap();
}

#[tokio::test]
async fn a_deleted_login_can_be_created_again() {
    let scene = Secured::start().await;
    scene.create_user("ann", &["sales"]).await;
    let mut users = scene.admins_users().await;
    users.delete(delete("ann")).await.unwrap();
    assert_eq!(code_of_login(&scene, "ann", "changeit").await, Code::Unauthenticated);
    let gone = details(&mut users, "ann").await.unwrap_err();
    assert_exception(&gone, Code::NotFound, "user-not-found");
    assert_eq!(trailer(&gone, "login-name"), "ann");
    scene.create_user("ann", &[]).await;
    assert!(details(&mut users, "ann").await.unwrap().groups.is_empty());
}

#[tokio::test]
async fn a_login_exists_once_and_follows_the_rule_of_logins() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut users = scene.admins_users().await;
    let create = |login: &str, password: &str| CreateReq {
        options: Some(create_req::Options {
            login_name: login.to_owned(),
            password: password.to_owned(),
            full_name: String::new(),
            groups: Vec::new(),
        }),
    };
    let twice = users.create(create("ann", "changeit")).await.unwrap_err();
    assert_exception(&twice, Code::FailedPrecondition, "user-conflict");
    for (login, password) in [("$admins", "changeit"), ("a:b", "changeit"), ("bob", "1234567")] {
        let refused = users.create(create(login, password)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{login}: {refused}");
    }
}

#[tokio::test]
async fn users_are_in_the_store_and_the_first_ones_are_made_once() {
    let store = Arc::new(MemoryStore::new());
    let first = Secured::over(store.clone()).await;
    first.create_user("ann", &[]).await;
    let second = Secured::over(store).await;
    assert_eq!(code_of_login(&second, "ann", "changeit").await, Code::Ok);
    let admin = first.passwords.admin();
    assert_eq!(code_of_login(&second, "admin", admin).await, Code::Ok);
    let other = second.passwords.admin();
    assert_eq!(code_of_login(&second, "admin", other).await, Code::Unauthenticated);
}

#[tokio::test]
async fn every_change_is_in_the_audit_stream_with_its_author_and_without_passwords() {
    let scene = Secured::start().await;
    scene.create_user("ann", &["sales"]).await;
    let mut users = scene.admins_users().await;
    users.disable(disable("ann")).await.unwrap();
    users.delete(delete("ann")).await.unwrap();
    let mut admin = scene.admin().await;
    let audit = Read::stream("$audit").run(&mut admin).await.unwrap();
    let acts: Vec<_> = audit
        .iter()
        .map(|content| {
            let record = event(content).event.as_ref().unwrap();
            let data = std::str::from_utf8(&record.data).unwrap();
            assert!(!data.contains("changeit") && !data.contains("argon2"), "{data}");
            format!("{} {data}", record.metadata["type"])
        })
        .collect();
    let by = r#""by":"admin","from":"127.0.0.1""#;
    assert_eq!(
        acts,
        [
            "$first-users-created {}".to_owned(),
            format!(r#"$user-created {{{by},"groups":["sales"],"user":"ann"}}"#),
            format!(r#"$user-disabled {{{by},"user":"ann"}}"#),
            format!(r#"$user-deleted {{{by},"user":"ann"}}"#),
        ]
    );
}

#[tokio::test]
async fn an_insecure_server_says_that_it_has_no_users() {
    let scene = Scene::of_memory().await;
    let mut users =
        users_client::UsersClient::with_interceptor(scene.channel().await, basic("a", "b"));
    let refused = users.delete(delete("ann")).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("insecure"), "{refused}");
}
