//! Requests of the service, checked.

use std::ops::RangeInclusive;

use gesta_store::EventId;
use tonic::{Code, Status as Refusal};

use super::super::{
    config::{Mode, ProjectionConfig, Switch},
    names, system,
};
use crate::{
    proto::projections::{
        CreateReq, StatisticsReq, UpdateReq,
        create_req::options::{Continuous, Mode as AskedMode, Transient},
        statistics_req::options::Mode as AskedStatistics,
        update_req::options::EmitOption,
    },
    wire::{refused, with_trailers},
};

/// The versions of the engine that clients ask for. One engine serves both.
const ENGINES: RangeInclusive<i32> = 0..=1;

pub(super) fn options<Options>(options: Option<Options>) -> Result<Options, Refusal> {
    options.ok_or_else(|| refused("the options of the call are missing"))
}

/// Returns the projection that a request creates, with an id of its own.
pub(super) fn config(request: CreateReq) -> Result<ProjectionConfig, Refusal> {
    let options = options(request.options)?;
    let asked = options.engine_version;
    if !ENGINES.contains(&asked) {
        let (first, last) = (ENGINES.start(), ENGINES.end());
        return Err(refused(format!(
            "`engine_version` must be between {first} and {last}; got {asked}"
        )));
    }
    let id = EventId::random().to_string();
    let (mode, name, may_emit, tracks_streams) = match options.mode {
        Some(AskedMode::OneTime(_)) => (Mode::OneTime, id.clone(), false, false),
        Some(AskedMode::Transient(Transient { name })) => (Mode::Transient, name, false, false),
        Some(AskedMode::Continuous(Continuous { name, emit_enabled, track_emitted_streams })) => {
            if track_emitted_streams && !emit_enabled {
                return Err(untracked());
            }
            (Mode::Continuous, name, emit_enabled, track_emitted_streams)
        }
        None => return Err(refused("the mode of the projection is missing")),
    };
    if let Some(reason) = names::refusal(&name) {
        return Err(refused(reason));
    }
    Ok(ProjectionConfig {
        id,
        name,
        query: options.query,
        mode,
        may_emit,
        tracks_streams,
        switch: Switch::Enabled,
        epoch: 0,
        version: 0,
    })
}

/// Refuses to track the streams of a projection that may not emit. Clients know the first words.
fn untracked() -> Refusal {
    let reason = "`track_emitted_streams` needs `emit_enabled`";
    let text = format!("Exception was thrown by handler. {reason}");
    with_trailers(Code::Unknown, text, [("exception", "projection-cannot-track")])
}

/// Returns name, script and, if it changes, whether the projection may emit.
pub(super) fn update(request: UpdateReq) -> Result<(String, String, Option<bool>), Refusal> {
    let options = options(request.options)?;
    let may_emit = match options.emit_option {
        Some(EmitOption::EmitEnabled(may_emit)) => Some(may_emit),
        Some(EmitOption::NoEmitOptions(_)) | None => None,
    };
    Ok((options.name, options.query, may_emit))
}

/// The projections whose statistics are asked for.
pub(super) enum AskedFor {
    Name(String),
    All,
    Mode(Mode),
}

pub(super) fn statistics(request: StatisticsReq) -> Result<AskedFor, Refusal> {
    Ok(match options(request.options)?.mode {
        Some(AskedStatistics::Name(name)) => AskedFor::Name(name),
        Some(AskedStatistics::All(_)) => AskedFor::All,
        Some(AskedStatistics::Transient(_)) => AskedFor::Mode(Mode::Transient),
        Some(AskedStatistics::Continuous(_)) => AskedFor::Mode(Mode::Continuous),
        Some(AskedStatistics::OneTime(_)) => AskedFor::Mode(Mode::OneTime),
        None => return Err(refused("the projections to describe are missing")),
    })
}

impl AskedFor {
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::All | Self::Mode(_) => None,
        }
    }

    pub(super) fn includes(&self, config: &ProjectionConfig) -> bool {
        match self {
            Self::Name(name) => *name == config.name,
            Self::All => true,
            Self::Mode(mode) => *mode == config.mode,
        }
    }

    /// The projections of the system are continuous.
    pub(super) fn includes_system(&self, name: &str) -> bool {
        match self {
            Self::Name(asked) => system::is_of_system(asked) && asked == name,
            Self::All => true,
            Self::Mode(mode) => *mode == Mode::Continuous,
        }
    }
}
