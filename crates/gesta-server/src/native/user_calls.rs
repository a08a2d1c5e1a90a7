//! Endpoints about the users of a secured server.
//!
//! Invariant: they make the calls of the protocol, with their checks and their records in the audit
//! stream; the record of a change has the caller's reason, too. No answer has a password.

use axum::response::Response;
use futures_util::TryStreamExt as _;
use gesta_store::RecordedAt;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Status;

use super::{
    native_call::{NativeCall, done, json_answer},
    parameters::LOGIN,
    problem::{Problem, ProblemCode},
};
use crate::{
    clock::time_text,
    proto::users::{
        ChangePasswordReq, CreateReq, DeleteReq, DetailsReq, DisableReq, EnableReq,
        ResetPasswordReq, UpdateReq, change_password_req, create_req, delete_req, details_req,
        details_resp::UserDetails, disable_req, enable_req, reset_password_req, update_req,
        users_server::Users as _,
    },
    users::UsersService,
};

/// Maximum size of a body about a user.
pub(super) const USER_BODY_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewUserBody {
    login: String,
    #[serde(default)]
    full_name: String,
    #[serde(default)]
    groups: Vec<String>,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangedUserBody {
    full_name: String,
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangedPasswordBody {
    current_password: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetPasswordBody {
    password: String,
}

pub(super) async fn list_users(call: NativeCall) -> Result<Response, Problem> {
    json_answer(&json!({ "users": details(&call, None).await? }))
}

pub(super) async fn show_user(call: NativeCall) -> Result<Response, Problem> {
    let mut found = details(&call, Some(login(&call))).await?;
    let missing = || Problem::new(ProblemCode::Internal, "the user has no details");
    json_answer(&found.pop().ok_or_else(missing)?)
}

pub(super) async fn create_user(call: NativeCall) -> Result<Response, Problem> {
    let NewUserBody { login, full_name, groups, password } = call.json()?;
    let options = create_req::Options { login_name: login, password, full_name, groups };
    let message = call.change(CreateReq { options: Some(options) })?;
    done(users(&call)?.create(message).await)
}

pub(super) async fn update_user(call: NativeCall) -> Result<Response, Problem> {
    let ChangedUserBody { full_name, groups } = call.json()?;
    let options = update_req::Options {
        login_name: login(&call),
        // It stays.
        password: String::new(),
        full_name,
        groups,
    };
    let message = call.change(UpdateReq { options: Some(options) })?;
    done(users(&call)?.update(message).await)
}

pub(super) async fn delete_user(call: NativeCall) -> Result<Response, Problem> {
    let options = delete_req::Options { login_name: login(&call) };
    let message = call.change(DeleteReq { options: Some(options) })?;
    done(users(&call)?.delete(message).await)
}

pub(super) async fn enable_user(call: NativeCall) -> Result<Response, Problem> {
    let options = enable_req::Options { login_name: login(&call) };
    let message = call.change(EnableReq { options: Some(options) })?;
    done(users(&call)?.enable(message).await)
}

pub(super) async fn disable_user(call: NativeCall) -> Result<Response, Problem> {
    let options = disable_req::Options { login_name: login(&call) };
    let message = call.change(DisableReq { options: Some(options) })?;
    done(users(&call)?.disable(message).await)
}

pub(super) async fn change_password(call: NativeCall) -> Result<Response, Problem> {
    let ChangedPasswordBody { current_password, password } = call.json()?;
    let options = change_password_req::Options {
        login_name: login(&call),
        current_password,
        new_password: password,
    };
    let message = call.change(ChangePasswordReq { options: Some(options) })?;
    done(users(&call)?.change_password(message).await)
}

pub(super) async fn reset_password(call: NativeCall) -> Result<Response, Problem> {
    let ResetPasswordBody { password } = call.json()?;
    let options = reset_password_req::Options { login_name: login(&call), new_password: password };
    let message = call.change(ResetPasswordReq { options: Some(options) })?;
    done(users(&call)?.reset_password(message).await)
}

/// Returns one user, or all of them by their logins.
async fn details(call: &NativeCall, login: Option<String>) -> Result<Vec<Value>, Problem> {
    let options = login.map(|login_name| details_req::Options { login_name });
    let message = call.in_protocol(DetailsReq { options });
    let refused = |status: Status| Problem::of_change(&status);
    let found = users(call)?.details(message).await.map_err(refused)?.into_inner();
    let found: Vec<_> = found.try_collect().await.map_err(refused)?;
    let mut found: Vec<_> = found.into_iter().filter_map(|answer| answer.user_details).collect();
    found.sort_by(|one, other| one.login_name.cmp(&other.login_name));
    Ok(found.into_iter().map(user_json).collect())
}

fn user_json(user: UserDetails) -> Value {
    // Units of 100 ns.
    let ticks = user.last_updated.map_or(0, |changed| changed.ticks_since_epoch);
    let changed_at = RecordedAt::from_micros(u64::try_from(ticks / 10).unwrap_or_default());
    json!({
        "login": user.login_name,
        "fullName": user.full_name,
        "groups": user.groups,
        "disabled": user.disabled,
        "changedAt": time_text(changed_at),
    })
}

fn login(call: &NativeCall) -> String {
    call.arguments.text(&LOGIN).unwrap_or_default().to_owned()
}

/// Returns the calls about users, which an insecure server does not have.
fn users(call: &NativeCall) -> Result<UsersService, Problem> {
    match call.node.access().guard() {
        Some(_) => Ok(UsersService::of(call.node.clone())),
        None => {
            let detail = "this server is insecure and has no users";
            Err(Problem::new(ProblemCode::NoUsers, detail))
        }
    }
}
