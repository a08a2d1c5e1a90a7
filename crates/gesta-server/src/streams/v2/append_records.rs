//! `AppendRecords`: records of any number of streams, and checks of these or other streams.

use tonic::Status;

use super::{asked::CheckPlaces, joint_append::JointAppend, refusals};
use crate::{
    access::Caller,
    node::Node,
    proto::streams_v2::{
        AppendRecordsRequest, AppendRecordsResponse, ConsistencyCheck, StreamRevision,
        consistency_check::{StreamStateCheck, Type},
    },
    wire::{expected_of_number, refused, text_to_read, text_to_write},
};

pub(super) async fn append_records(
    node: &Node,
    caller: &Caller,
    request: AppendRecordsRequest,
) -> Result<AppendRecordsResponse, Status> {
    let AppendRecordsRequest { records, checks } = request;
    if records.is_empty() {
        return Err(refused("at least one record is required"));
    }
    let mut append = JointAppend::new(node);
    for mut record in records {
        let stream = text_to_write(&std::mem::take(&mut record.stream))?;
        append.push(&stream, record)?;
    }
    let mut places = CheckPlaces::new();
    for (place, check) in checks.into_iter().enumerate() {
        add_check(&mut append, &mut places, (place, check))?;
    }
    append.check_rights(node, caller).await?;
    let appended = match append.run(node, caller).await {
        Ok(appended) => appended,
        Err((error, asked)) => {
            return Err(refusals::of_records(node, error, &asked, &places).await);
        }
    };
    let revisions = appended.revisions.iter().map(|(stream, revision)| StreamRevision {
        stream: stream.as_str().to_owned(),
        revision: refusals::signed(revision.number()),
    });
    Ok(AppendRecordsResponse {
        revisions: revisions.collect(),
        position: refusals::signed(appended.position.number()),
    })
}

fn add_check(
    append: &mut JointAppend,
    places: &mut CheckPlaces,
    (place, check): (usize, ConsistencyCheck),
) -> Result<(), Status> {
    let Some(Type::StreamState(StreamStateCheck { stream, expected_state })) = check.r#type else {
        return Err(refused(format!("check {place} has no known type")));
    };
    let stream = text_to_read(&stream)?;
    append.expect(&stream, expected_of_number(expected_state)?);
    if places.insert(stream.clone(), place).is_some() {
        return Err(refused(format!("the stream `{stream}` is checked twice")));
    }
    Ok(())
}
