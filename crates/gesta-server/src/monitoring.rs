//! The service `Monitoring`: the figures of the server, at the interval that the client asks for.
//!
//! Invariants: the first figures come at once; a call ends when the server stops. Not here: the
//! figures ([`http`](crate::http)).

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use tokio::{
    select,
    time::{Interval, MissedTickBehavior, interval},
};
use tonic::{Request, Response, Status};

use crate::{
    http::Figures,
    node::Node,
    proto::monitoring::{
        StatsReq, StatsResp,
        monitoring_server::{Monitoring, MonitoringServer},
    },
    wire::refused,
};

/// Minimum interval; a shorter one is raised to it.
const PERIOD_MIN: Duration = Duration::from_millis(100);
/// Maximum interval; a longer one is lowered to it.
const PERIOD_MAX: Duration = Duration::from_secs(86_400);

/// The service over one server.
pub(crate) struct MonitoringService {
    node: Node,
}

/// Returns the service of this node.
pub(crate) fn service(node: Node) -> MonitoringServer<MonitoringService> {
    MonitoringServer::new(MonitoringService { node })
}

#[tonic::async_trait]
impl Monitoring for MonitoringService {
    type StatsStream = Pin<Box<dyn Stream<Item = Result<StatsResp, Status>> + Send>>;

    async fn stats(
        &self,
        request: Request<StatsReq>,
    ) -> Result<Response<Self::StatsStream>, Status> {
        let asked = request.into_inner().refresh_time_period_in_ms;
        if asked == 0 {
            return Err(refused("`refresh_time_period_in_ms` must be at least 1; got 0"));
        }
        let period = Duration::from_millis(asked).clamp(PERIOD_MIN, PERIOD_MAX);
        let mut ticks = interval(period);
        // A client that reads slowly wants the figures of now.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = Some((self.node.clone(), ticks));
        Ok(Response::new(Box::pin(stream::unfold(state, |state| async {
            let (node, ticks) = state?;
            Some(next(node, ticks).await)
        }))))
    }
}

type Answered = (Result<StatsResp, Status>, Option<(Node, Interval)>);

/// Returns the next figures, or the end if the server stops before.
async fn next(node: Node, mut ticks: Interval) -> Answered {
    select! {
        _ = ticks.tick() => {}
        () = node.stopped() => {
            return (Err(Status::unavailable("the server is shutting down")), None);
        }
    }
    let stats = Figures::of(&node).await.to_texts();
    (Ok(StatsResp { stats }), Some((node, ticks)))
}
