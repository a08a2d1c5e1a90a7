//! Endpoints that change what the server does by itself: consumer groups and projections.
//!
//! Invariant: an act is that of the protocol, with its checks and its record in the audit stream;
//! the record has the caller's reason, too. Not here: who may act ([`access`](crate::access)).

use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    group_bodies::{NewGroupBody, SettingsBody},
    native_call::{NativeCall, done, json_answer},
    parameters::{
        ABORT, CHECKPOINTS, EMITTED_STREAMS, GROUP, PARTITION, PROJECTION, SOURCE, STOP_AT,
    },
    problem::{Problem, ProblemCode},
};
use crate::{
    groups::{
        GroupAct, GroupAsker, GroupSettings, act_on_named, create_named, settings_of_named,
        update_named,
    },
    projections::ProjectionsService,
    proto::projections::{
        CreateReq, DeleteReq, DisableReq, EnableReq, ResetReq, UpdateReq,
        create_req::{
            self,
            options::{Continuous, Mode, Transient},
        },
        delete_req, disable_req, enable_req,
        projections_server::Projections as _,
        reset_req, update_req,
    },
};

/// Maximum size of the body about a group.
pub(super) const GROUP_BODY_BYTES_MAX: usize = 64 << 10;
/// Maximum size of the body with a script.
pub(super) const SCRIPT_BODY_BYTES_MAX: usize = 1 << 20;

pub(super) async fn create_group(call: NativeCall) -> Result<Response, Problem> {
    let NewGroupBody { source, name, settings, filter } = call.json()?;
    let settings = settings.0.over(GroupSettings::usual())?;
    let filter = filter.map(|filter| filter.0.check()).transpose()?;
    let asker = GroupAsker::of(&call.change(())?);
    let named = (source.as_str(), name.as_str());
    done(create_named(&call.work.groups, &asker, named, settings, filter).await)
}

pub(super) async fn update_group(call: NativeCall) -> Result<Response, Problem> {
    let changed: SettingsBody = call.json()?;
    let asker = GroupAsker::of(&call.change(())?);
    let (groups, named) = (&call.work.groups, group_names(&call));
    let kept = settings_of_named(groups, named).await;
    let settings = changed.over(kept.map_err(|refused| Problem::of_change(&refused))?)?;
    done(update_named(groups, &asker, named, settings).await)
}

pub(super) async fn delete_group(call: NativeCall) -> Result<Response, Problem> {
    act_on_group(&call, GroupAct::Delete).await
}

pub(super) async fn replay_parked(call: NativeCall) -> Result<Response, Problem> {
    let stop_at = call.arguments.number(&STOP_AT)?;
    act_on_group(&call, GroupAct::ReplayParked { stop_at }).await
}

pub(super) async fn truncate_parked(call: NativeCall) -> Result<Response, Problem> {
    let stop_at = call.arguments.number(&STOP_AT)?;
    act_on_group(&call, GroupAct::TruncateParked { stop_at }).await
}

async fn act_on_group(call: &NativeCall, act: GroupAct) -> Result<Response, Problem> {
    done(act_on_named(&call.work.groups, call.subject()?, group_names(call), act).await)
}

/// Returns source and name of the group of the path.
fn group_names(call: &NativeCall) -> (&str, &str) {
    let text = |parameter| call.arguments.text(parameter).unwrap_or_default();
    (text(&SOURCE), text(&GROUP))
}

/// The body of a new projection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewProjectionBody {
    name: String,
    query: String,
    #[serde(default)]
    mode: ModeBody,
    #[serde(default)]
    emits: bool,
    #[serde(default)]
    tracks_streams: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeBody {
    #[default]
    Continuous,
    Transient,
}

/// The body of a changed projection. Whether it emits stays if the body does not say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ChangedProjectionBody {
    query: String,
    emits: Option<bool>,
}

pub(super) async fn create_projection(call: NativeCall) -> Result<Response, Problem> {
    let NewProjectionBody { name, query, mode, emits, tracks_streams } = call.json()?;
    let mode = match mode {
        ModeBody::Transient if emits || tracks_streams => {
            let reason = "must be `continuous` for a projection that emits";
            return Err(Problem::invalid("mode", reason));
        }
        ModeBody::Transient => Mode::Transient(Transient { name }),
        ModeBody::Continuous => Mode::Continuous(Continuous {
            name,
            emit_enabled: emits,
            track_emitted_streams: tracks_streams,
        }),
    };
    let options = create_req::Options { mode: Some(mode), query, engine_version: 0 };
    let message = call.change(CreateReq { options: Some(options) })?;
    done(projections(&call).create(message).await)
}

pub(super) async fn update_projection(call: NativeCall) -> Result<Response, Problem> {
    let ChangedProjectionBody { query, emits } = call.json()?;
    let emit_option = emits.map(update_req::options::EmitOption::EmitEnabled);
    let options = update_req::Options { name: name(&call), query, emit_option };
    let message = call.change(UpdateReq { options: Some(options) })?;
    done(projections(&call).update(message).await)
}

pub(super) async fn delete_projection(call: NativeCall) -> Result<Response, Problem> {
    let with_checkpoints = call.arguments.is_set(&CHECKPOINTS)?;
    let options = delete_req::Options {
        name: name(&call),
        delete_emitted_streams: call.arguments.is_set(&EMITTED_STREAMS)?,
        delete_state_stream: with_checkpoints,
        delete_checkpoint_stream: with_checkpoints,
    };
    let message = call.change(DeleteReq { options: Some(options) })?;
    done(projections(&call).delete(message).await)
}

pub(super) async fn enable_projection(call: NativeCall) -> Result<Response, Problem> {
    let options = enable_req::Options { name: name(&call) };
    let message = call.change(EnableReq { options: Some(options) })?;
    done(projections(&call).enable(message).await)
}

pub(super) async fn disable_projection(call: NativeCall) -> Result<Response, Problem> {
    let write_checkpoint = !call.arguments.is_set(&ABORT)?;
    let options = disable_req::Options { name: name(&call), write_checkpoint };
    let message = call.change(DisableReq { options: Some(options) })?;
    done(projections(&call).disable(message).await)
}

pub(super) async fn reset_projection(call: NativeCall) -> Result<Response, Problem> {
    let options = reset_req::Options { name: name(&call), write_checkpoint: true };
    let message = call.change(ResetReq { options: Some(options) })?;
    done(projections(&call).reset(message).await)
}

/// State and result, `null` where the script has made none.
#[derive(Debug, Serialize)]
struct StateAnswer<'a> {
    partition: &'a str,
    state: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
}

pub(super) async fn projection_state(call: NativeCall) -> Result<Response, Problem> {
    let partition = call.arguments.text(&PARTITION).unwrap_or_default();
    let found = projections(&call).state_and_result(&name(&call), partition).await;
    let (state, result) = found.map_err(|refused| Problem::of_change(&refused))?;
    json_answer(&StateAnswer { partition, state: json(state)?, result: json(result)? })
}

fn json(stored: Option<String>) -> Result<Option<Box<RawValue>>, Problem> {
    let json = stored.map(RawValue::from_string).transpose();
    json.map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()))
}

fn name(call: &NativeCall) -> String {
    call.arguments.text(&PROJECTION).unwrap_or_default().to_owned()
}

fn projections(call: &NativeCall) -> ProjectionsService {
    ProjectionsService::of(call.work.projections.clone())
}
