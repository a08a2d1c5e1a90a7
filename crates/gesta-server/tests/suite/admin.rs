//! The client for operators.

use gesta_server::{
    ScavengeRequest,
    admin::{AdminClient, AdminError, ClientTls, GroupRef, NewGroup, NewProjection, NewUser},
};

use crate::{client::grow, scene::Scene, secured::Secured};

/// A client of the secured server, as this user.
fn client(scene: &Secured, login: &str, password: &str) -> AdminClient {
    let address = format!("localhost:{}", scene.address.port()).parse().unwrap();
    let tls = ClientTls::new(scene.authority.pem.as_bytes()).unwrap();
    AdminClient::secure(address, tls).user(login, password)
}

fn insecure(scene: &Scene) -> AdminClient {
    AdminClient::insecure(scene.address.to_string().parse().unwrap())
}

#[tokio::test]
async fn an_administrator_creates_changes_and_deletes_a_user() {
    let scene = Secured::start().await;
    let admin = client(&scene, "admin", scene.passwords.admin());
    let mut ann = NewUser::new("ann", "first-password");
    ann.groups = vec!["$ops".to_owned()];
    admin.create_user(ann.clone()).await.unwrap();
    assert!(matches!(admin.create_user(ann).await, Err(AdminError::Refused { .. })));
    let logins = admin.users().await.unwrap();
    let logins: Vec<_> = logins.iter().map(|user| user.login.as_str()).collect();
    assert_eq!(logins, ["admin", "ann", "ops"]);

    admin.reset_password("ann", "second-password").await.unwrap();
    let denied = client(&scene, "ann", "first-password").stats().await;
    assert!(matches!(denied, Err(AdminError::Denied { .. })), "{denied:?}");
    client(&scene, "ann", "second-password").stats().await.unwrap();

    admin.disable_user("ann").await.unwrap();
    assert!(
        admin.users().await.unwrap().iter().any(|user| user.login == "ann" && user.is_disabled)
    );
    let denied = client(&scene, "ann", "second-password").stats().await;
    assert!(matches!(denied, Err(AdminError::Denied { .. })), "{denied:?}");
    admin.enable_user("ann").await.unwrap();
    client(&scene, "ann", "second-password").stats().await.unwrap();

    admin.delete_user("ann").await.unwrap();
    assert!(matches!(admin.delete_user("ann").await, Err(AdminError::NotFound { .. })));
}

#[tokio::test]
async fn the_last_administrator_is_neither_deleted_nor_disabled() {
    let scene = Secured::start().await;
    let admin = client(&scene, "admin", scene.passwords.admin());
    for refused in [admin.delete_user("admin").await, admin.disable_user("admin").await] {
        assert!(matches!(refused, Err(AdminError::Refused { .. })), "{refused:?}");
    }
    let mut ann = NewUser::new("ann", "first-password");
    ann.groups = vec!["$admins".to_owned()];
    admin.create_user(ann).await.unwrap();
    admin.disable_user("admin").await.unwrap();
    let ann = client(&scene, "ann", "first-password");
    assert!(matches!(ann.delete_user("ann").await, Err(AdminError::Refused { .. })));
    ann.delete_user("admin").await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_too_short_is_invalid_and_in_no_error() {
    let scene = Secured::start().await;
    let admin = client(&scene, "admin", scene.passwords.admin());
    let refused = admin.create_user(NewUser::new("ann", "sh0rt")).await.unwrap_err();
    assert!(matches!(refused, AdminError::Invalid { .. }), "{refused:?}");
    assert!(!format!("{refused:?} {admin:?}").contains("sh0rt"));
}

#[tokio::test]
async fn a_server_with_the_certificate_of_another_authority_is_not_reached() {
    let scene = Secured::start().await;
    let other = crate::secured::Authority::new();
    let address = format!("localhost:{}", scene.address.port()).parse().unwrap();
    let client = AdminClient::secure(address, ClientTls::new(other.pem.as_bytes()).unwrap());
    let refused = client.ping().await.unwrap_err();
    assert!(matches!(refused, AdminError::UnknownAuthority { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_group_is_created_described_replayed_and_deleted() {
    let scene = Scene::of_memory().await;
    grow(&mut scene.client().await, "order-1", 1..=2).await;
    let client = insecure(&scene);
    for source in ["order-1", "$all"] {
        let group = GroupRef::new(source, "mail");
        let mut new = NewGroup::new(group.clone());
        new.from_start = true;
        client.create_group(new.clone()).await.unwrap();
        assert!(matches!(client.create_group(new).await, Err(AdminError::Refused { .. })));
        let described = client.group(&group).await.unwrap();
        assert_eq!((described.source.as_str(), described.consumers), (source, 0));
        assert_eq!(client.groups().await.unwrap().len(), 1);
        client.replay_parked(&group).await.unwrap();
        client.delete_group(&group).await.unwrap();
        let gone = client.group(&group).await;
        assert!(matches!(gone, Err(AdminError::NotFound { .. })), "{gone:?}");
    }
}

#[tokio::test]
async fn a_group_of_an_unknown_strategy_is_invalid() {
    let scene = Scene::of_memory().await;
    let mut new = NewGroup::new(GroupRef::new("order-1", "mail"));
    new.strategy = "Best".to_owned();
    let refused = insecure(&scene).create_group(new).await.unwrap_err();
    assert!(matches!(refused, AdminError::Invalid { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_projection_is_created_and_its_state_is_json() {
    let scene = Scene::of_memory().await;
    grow(&mut scene.client().await, "order-1", 1..=3).await;
    let client = insecure(&scene);
    let script = "fromStream('order-1').when({ $init: () => ({ count: 0, share: 0 }), \
                  $any: (s) => { s.count++; s.share = s.count / 2; return s; } })";
    client.create_projection(NewProjection::new("totals", script)).await.unwrap();
    let expected = serde_json::json!({ "count": 3, "share": 1.5 });
    let counted = tokio::time::timeout(crate::client::PATIENCE, async {
        while client.projection_state("totals", "").await.unwrap() != expected {}
    });
    counted.await.expect("the projection handles the events");
    let listed = client.projections().await.unwrap();
    assert!(listed.iter().any(|one| one.name == "totals" && one.status.contains("Running")));
    let refused = client.delete_projection("totals").await;
    assert!(matches!(refused, Err(AdminError::Refused { .. })), "{refused:?}");
    client.disable_projection("totals").await.unwrap();
    client.delete_projection("totals").await.unwrap();
    let gone = client.projection_state("totals", "").await;
    assert!(matches!(gone, Err(AdminError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_scavenged_says_so() {
    let scene = Scene::of_memory().await;
    let client = insecure(&scene);
    let refused = client.start_scavenge(ScavengeRequest::default()).await;
    assert!(matches!(refused, Err(AdminError::Invalid { .. })), "{refused:?}");
    let none = client.last_scavenge().await;
    assert!(matches!(none, Err(AdminError::NotFound { .. })), "{none:?}");
    let none = client.stop_scavenge("../shutdown").await;
    assert!(matches!(none, Err(AdminError::NotFound { .. })), "{none:?}");
}

#[tokio::test]
async fn an_operator_ends_the_server() {
    let mut scene = Scene::of_memory().await;
    insecure(&scene).shut_down().await.unwrap();
    scene.ended().await;
}

#[tokio::test]
async fn an_address_without_a_server_is_unreachable() {
    let mut scene = Scene::of_memory().await;
    let client = insecure(&scene);
    scene.stop();
    scene.ended().await;
    let refused = client.ping().await.unwrap_err();
    assert!(matches!(refused, AdminError::Unreachable { .. }), "{refused:?}");
}
