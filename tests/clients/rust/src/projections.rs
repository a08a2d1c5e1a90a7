//! Projections: states, results, emitted events, and their life.

use serde_json::Value;
use tokio::time::timeout;

use super::{
    package::{
        Client, CreateProjectionOptions, DeleteProjectionOptions, GetResultProjectionOptions,
        GetStateProjectionOptions, ProjectionClient, ReadStreamOptions, UpdateProjectionOptions,
    },
    streams::{number, placed, read},
};
use crate::{Outcome, PATIENCE, Report, check, fresh};

pub(super) async fn run(client: &Client, report: &mut Report) {
    report.add("projections have states and results of partitions", counts(client).await);
    report.add("projections emit, stop, start and end", emits(client).await);
}

/// Returns a number of a state or result. The packages read every number as a floating-point one.
fn entry(state: &Value, name: &str) -> Option<f64> {
    state.get(name)?.as_f64()
}

/// Waits until `n` in the state of a partition is this number.
async fn until_state(
    projections: &ProjectionClient,
    name: &str,
    partition: &str,
    expected: f64,
) -> Outcome {
    let options = GetStateProjectionOptions::default().partition(partition);
    let waiting = async {
        // The projection may not have started yet.
        while !projections
            .get_state::<_, Value>(name, &options)
            .await
            .is_ok_and(|state| state.is_ok_and(|state| entry(&state, "n") == Some(expected)))
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, waiting).await.map_err(|_| format!("`{partition}` is not {expected}").into())
}

async fn counts(client: &Client) -> Outcome {
    let projections = ProjectionClient::from(client.clone());
    let (category, name) = (fresh("c").replace('-', ""), fresh("count"));
    let query = format!(
        "fromCategory('{category}').foreachStream()
           .when({{ $init: () => ({{ n: 0 }}), placed(s, e) {{ s.n += e.data.n }} }})
           .transformBy((s) => ({{ doubled: s.n * 2 }}))
           .outputState()"
    );
    projections.create(&name, query, &Default::default()).await?;
    let (one, two) = (format!("{category}-1"), format!("{category}-2"));
    let events = vec![placed(1), placed(2)];
    client.append_to_stream(one.as_str(), &Default::default(), events).await?;
    client.append_to_stream(two.as_str(), &Default::default(), placed(5)).await?;
    until_state(&projections, &name, &one, 3.0).await?;
    until_state(&projections, &name, &two, 5.0).await?;
    let options = GetResultProjectionOptions::default().partition(&one);
    let result = projections.get_result::<_, Value>(&name, &options).await??;
    check!(entry(&result, "doubled") == Some(6.0), "the result is {result}");
    let status = projections.get_status(&name, &Default::default()).await?;
    let status = status.map(|status| status.status);
    check!(status.as_deref() == Some("Running"), "the status is {status:?}");
    Ok(())
}

async fn emits(client: &Client) -> Outcome {
    let projections = ProjectionClient::from(client.clone());
    let (stream, name) = (fresh("order"), fresh("emit"));
    let query = format!(
        "fromStream('{stream}').when({{
           $init: () => ({{ n: 0 }}),
           placed(s, e) {{ s.n += 1; emit('copies-{name}', 'copied', e.data) }},
         }})"
    );
    let options = CreateProjectionOptions::default().emit(true).track_emitted_streams(true);
    projections.create(&name, query.clone(), &options).await?;
    let events = vec![placed(1), placed(2)];
    client.append_to_stream(stream.as_str(), &Default::default(), events).await?;
    until_state(&projections, &name, "", 2.0).await?;
    let twice = projections.create(&name, query.clone(), &options).await;
    check!(twice.is_err(), "a projection was created twice");
    projections.disable(&name, &Default::default()).await?;
    let copies = read(client, &format!("copies-{name}"), &ReadStreamOptions::default()).await?;
    let numbers: Vec<_> = copies.iter().filter_map(number).collect();
    check!(numbers == [1, 2], "emitted {numbers:?}");
    projections.enable(&name, &Default::default()).await?;
    projections.update(&name, query, &UpdateProjectionOptions::default().emit(true)).await?;
    projections.reset(&name, &Default::default()).await?;
    until_state(&projections, &name, "", 2.0).await?;
    projections.abort(&name, &Default::default()).await?;
    let options = DeleteProjectionOptions::default().delete_emitted_streams(true);
    projections.delete(&name, &options).await?;
    let gone = projections.get_status(&name, &Default::default()).await;
    check!(!matches!(gone, Ok(Some(_))), "a deleted projection is {gone:?}");
    projections.restart_subsystem(&Default::default()).await?;
    Ok(())
}
