//! Rules of routes: what is allowed, what is refused, and how often.

use std::time::Duration;

use axum::{Router, routing::post};
use gesta::Gesta;
use gesta_http::{
    Access, AccessRole, AccessRules, Commands, Created, GestaState, HttpRules, InvalidRules,
    OwnedRequest, Ownership, Problem, RateLimit, Right, RouteAccess,
};
use serde_json::{Value, json};

use super::{Guarded, Named, access, rules, with_headers};
use crate::{OpenDoor, api, asked, send};

#[tokio::test]
async fn a_request_without_credentials_is_refused_and_told_what_it_needs() {
    let doors = Guarded::by(access().by(Named)).await;
    let (status, headers, problem) = doors.ask("POST", "/doors/7/open", &[]).await;
    assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()));
    assert_eq!(headers["www-authenticate"], "Bearer");
    assert_eq!(headers["content-type"], "application/problem+json");
    for open in ["/health/live", "/health/ready", "/docs", "/openapi.json"] {
        assert_eq!(doors.ask("GET", open, &[]).await.0, 200, "{open}");
    }
}

#[tokio::test]
async fn an_actor_without_a_right_is_refused_and_told_which_one() {
    let doors = Guarded::by(access().by(Named)).await;
    for (method, path, right) in [
        ("GET", "/v1/projections", "status"),
        ("POST", "/v1/projections/none/rebuild", "rebuild"),
        ("POST", "/v1/projections/none/compare", "rebuild"),
        ("POST", "/v1/reactors/none/pause", "operate"),
        ("GET", "/v1/events", "feed"),
    ] {
        let (status, _, problem) = doors.ask(method, path, &[("x-test", "ann porter")]).await;
        assert_eq!((status, &problem["code"]), (403, &"forbidden".into()), "{path}");
        assert_eq!(problem["right"], right, "{path}");
    }
    let (status, ..) = doors.ask("GET", "/v1/projections", &[("x-test", "ann keeper")]).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn who_may_not_use_a_route_learns_nothing_about_its_parameters() {
    let doors = Guarded::by(access().by(Named)).await;
    let stranger = [("x-test", "ann stranger")];
    for path in ["/doors/256/open", "/doors/7/open?odd=1"] {
        assert_eq!(doors.ask("POST", path, &stranger).await.0, 403, "{path}");
        assert_eq!(doors.ask("POST", path, &[("x-test", "ann porter")]).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn rules_that_do_not_fit_the_routes_are_errors_before_the_router_is_built() {
    let keeper = || AccessRole::named("keeper").has(Right::ALL);
    let check = |rules| api().check_access(&Access::new(rules));
    assert_eq!(check(AccessRules::new([keeper()])), Ok(()));
    let operation = "burnDoor".to_owned();
    assert_eq!(
        check(AccessRules::new([keeper().may(["burnDoor"])])),
        Err(InvalidRules::UnknownOperation { operation })
    );
    let clerk = AccessRole::named("clerk").has([Right::Query]);
    let Err(InvalidRules::Uncovered { operations }) = check(AccessRules::new([clerk])) else {
        panic!("commands have no rule")
    };
    assert!(operations.contains(&"openDoor".to_owned()), "{operations:?}");
}

async fn ring(commands: Commands) -> Result<Created, Problem> {
    commands.create(OpenDoor { door: 1 }, 1, "/bell").await
}

#[tokio::test]
async fn a_route_of_the_applications_own_router_is_closed_until_it_has_a_rule() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    let state = GestaState::new(gesta).access(access().by(Named));
    let rule = RouteAccess::new(&state, "ringBell", Right::Command);
    let router: Router = Router::new()
        .route("/bell", post(ring))
        .route("/ruled", post(ring).layer(rule))
        .layer(HttpRules::new(&state))
        .with_state(state);
    for (path, who, status) in [
        ("/bell", "ann keeper", 403),
        ("/ruled", "ann keeper", 201),
        ("/ruled", "ann stranger", 403),
    ] {
        let request = with_headers(asked("POST", path), &[("x-test", who)]);
        assert_eq!(send(router.clone(), request).await.0, status, "{path} {who}");
    }
}

#[tokio::test]
async fn an_operation_can_be_open_to_everybody() {
    let open = AccessRules::new([AccessRole::named("keeper").has(Right::ALL)]).open(["buildDoor"]);
    let doors = Guarded::by(Access::new(open).by(Named)).await;
    assert_eq!(doors.ask("POST", "/doors", &[]).await.0, 201);
    assert_eq!(doors.actors().await, ["anonymous"]);
    assert_eq!(doors.ask("POST", "/doors/1/open", &[]).await.0, 401);
}

/// Visitors order doors with their own name on the sign, and open the door 7.
struct Visitors;

impl Ownership for Visitors {
    async fn owns(&self, _: &Gesta, request: &OwnedRequest) -> Result<bool, Problem> {
        Ok(match request.operation() {
            "orderDoor" => request.body_text("sign") == Some(request.actor()),
            "openDoor" => request.path("door") == Some("7"),
            _ => false,
        })
    }
}

#[tokio::test]
async fn a_role_uses_an_operation_for_what_its_actor_owns() {
    let visitor = AccessRole::named("visitor").may_own(["orderDoor", "openDoor", "buildDoor"]);
    let keeper = AccessRole::named("keeper").has(Right::ALL);
    let access = Access::new(AccessRules::new([visitor, keeper])).ownership(Visitors).by(Named);
    let doors = Guarded::by(access).await;
    let order = async |body: String| {
        let headers = [("x-test", "ann visitor"), ("content-type", "application/json")];
        let mut request = with_headers(asked("POST", "/orders"), &headers);
        *request.body_mut() = body.into();
        send(doors.router.clone(), request).await
    };
    assert_eq!(order(json!({ "door": 3, "sign": "ann" }).to_string()).await.0, 201);
    for foreign in [json!({ "door": 4, "sign": "bob" }), json!({ "door": 4 })] {
        let (status, _, problem) = order(foreign.to_string()).await;
        assert_eq!((status, &problem["right"]), (403, &"command".into()), "{problem}");
    }
    assert_eq!(order("{".to_owned()).await.0, 400, "it is told that its body is broken");
    assert_eq!(order(r#"{"door":4,"sign":"bob","sign":"ann"}"#.to_owned()).await.0, 400);
    let visitor = [("x-test", "ann visitor")];
    assert_eq!(doors.ask("POST", "/doors/7/open", &visitor).await.0, 200);
    assert_eq!(doors.ask("POST", "/doors/8/open", &visitor).await.0, 403);
    assert_eq!(doors.ask("POST", "/doors", &visitor).await.0, 403, "the hook does not know it");
    assert_eq!(doors.ask("POST", "/doors/8/open", &[("x-test", "ben keeper")]).await.0, 200);
}

#[tokio::test]
async fn each_actor_has_a_rate_of_its_own() {
    let limit = RateLimit::every(Duration::from_secs(10)).burst(2);
    let doors = Guarded::by(access().by(Named).limit(limit)).await;
    let open = async |who: &str| doors.ask("POST", "/doors/7/open", &[("x-test", who)]).await;
    let ann = [open("ann porter").await.0, open("ann porter").await.0];
    assert_eq!(ann, [200, 200]);
    let (status, headers, problem) = open("ann porter").await;
    assert_eq!((status, &problem["code"]), (429, &"too-many-requests".into()));
    assert_eq!(headers["retry-after"], "10");
    assert_eq!(open("ben porter").await.0, 200, "another actor");
    doors.clock.advance(Duration::from_secs(10));
    let later = [open("ann porter").await.0, open("ann porter").await.0];
    assert_eq!(later, [200, 429]);
    for _ in 0..10 {
        let headers = [("x-test", "ann porter")];
        assert_eq!(
            doors.ask("GET", "/health/live", &headers).await.0,
            200,
            "probes are not counted"
        );
    }
}

#[tokio::test]
async fn refused_credentials_count_for_their_address() {
    let limit = RateLimit::every(Duration::from_secs(10)).burst(2);
    let doors = Guarded::by(access().by(Named).limit(limit)).await;
    let refused = async |path: &str| doors.ask("GET", path, &[("x-test", "nobody")]).await.0;
    let statuses = [refused("/doors").await, refused("/nowhere").await, refused("/doors").await];
    assert_eq!(statuses, [401, 401, 429]);
    let ann = [("x-test", "ann porter")];
    assert_eq!(doors.ask("POST", "/doors/7/open", &ann).await.0, 200, "an actor is no address");
}

#[tokio::test]
async fn the_document_of_a_guarded_application_says_what_each_operation_needs() {
    let doors = Guarded::by(access().by(Named)).await;
    let (_, _, document) = doors.ask("GET", "/openapi.json", &[]).await;
    let open = &document["paths"]["/doors/{door}/open"]["post"];
    assert_eq!(open["x-right"], "command");
    for status in ["401", "403", "429"] {
        assert!(open["responses"][status].is_object(), "{status}");
    }
    let live = &document["paths"]["/health/live"]["get"];
    assert_eq!((&live["security"], &live["responses"]["401"]), (&Value::Null, &Value::Null));
    assert!(document["components"]["securitySchemes"]["bearer"].is_object());
    assert!(rules().roles().eq(["porter", "keeper"]));
}
