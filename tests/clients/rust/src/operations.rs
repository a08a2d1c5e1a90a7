//! The calls of operators, which only the clients for Rust and .NET have: users, figures,
//! scavenges.

use tokio::time::timeout;

use super::package::{
    Client, Error,
    operations::{Client as Operators, ScavengeStatus, StatsOptions, UserDetails, VNodeState},
};
use crate::{Outcome, PATIENCE, Report, Server, check, fresh};

pub(super) async fn run(client: &Client, server: &Server, report: &mut Report) {
    let operators = Operators::from(client.clone());
    if server.is_secured() {
        report.add("users are created, changed and deleted", users(&operators).await);
    } else {
        report.add("an insecure server says that it has no users", no_users(&operators).await);
        // The package reads this list over HTTP, without the authority of its connection string.
        report.add("the only node is a leader", members(&operators).await);
    }
    report.add("figures come again and again", figures(&operators).await);
    report.add("a scavenge is started and stopped", scavenges(&operators, server).await);
    report.add("calls for a cluster are answered", for_clusters(&operators).await);
}

async fn details(operators: &Operators, login: &str) -> Result<Option<UserDetails>, Error> {
    operators.user_details(login, &Default::default()).await?.next().await
}

async fn users(operators: &Operators) -> Outcome {
    let login = fresh("user");
    let groups = vec!["sales".to_owned()];
    operators.create_user(&login, "correct-horse", "Ann", groups, &Default::default()).await?;
    let twice =
        operators.create_user(&login, "correct-horse", "Ann", vec![], &Default::default()).await;
    check!(twice.is_err(), "a user was created twice");
    let user = details(operators, &login).await?.ok_or("there are no details")?;
    check!(user.groups == ["sales"] && !user.disabled, "the user is {user:?}");
    operators.disable_user(&login, &Default::default()).await?;
    let user = details(operators, &login).await?.ok_or("there are no details")?;
    check!(user.disabled, "a disabled user is {user:?}");
    operators.enable_user(&login, &Default::default()).await?;
    operators.update_user(&login, "battery-staple", "Ann B.", vec![], &Default::default()).await?;
    operators
        .change_user_password(&login, "battery-staple", "correct-horse", &Default::default())
        .await?;
    let wrong = operators
        .change_user_password(&login, "battery-staple", "correct-horse", &Default::default())
        .await;
    check!(matches!(wrong, Err(Error::AccessDenied)), "a wrong password was answered by {wrong:?}");
    operators.reset_user_password(&login, "battery-staple", &Default::default()).await?;
    operators.delete_user(&login, &Default::default()).await?;
    let gone = details(operators, &login).await;
    check!(matches!(gone, Err(Error::ResourceNotFound)), "a deleted user is {gone:?}");
    Ok(())
}

async fn no_users(operators: &Operators) -> Outcome {
    let refused = operators
        .create_user(fresh("user"), "correct-horse", "Ann", vec![], &Default::default())
        .await;
    check!(refused.is_err(), "a user was created");
    Ok(())
}

async fn members(operators: &Operators) -> Outcome {
    let members = operators.read_gossip().await?;
    let states: Vec<_> = members.iter().map(|member| member.state).collect();
    check!(states == [VNodeState::Leader], "the nodes are {members:?}");
    Ok(())
}

async fn figures(operators: &Operators) -> Outcome {
    let mut figures =
        operators.stats(&StatsOptions::default().refresh_time(PATIENCE / 300)).await?;
    for _ in 0..2 {
        let next = timeout(PATIENCE, figures.next()).await??;
        let head = next.0.get("head_position").and_then(|head| head.parse::<u64>().ok());
        check!(head.is_some_and(|head| head > 0), "the figures are {next:?}");
    }
    Ok(())
}

async fn scavenges(operators: &Operators, server: &Server) -> Outcome {
    let started = operators.start_scavenge(1, 0, &Default::default()).await;
    if !server.is_scavenged {
        check!(
            matches!(started, Err(Error::UnsupportedFeature)),
            "a scavenge of memory was answered by {started:?}"
        );
        return Ok(());
    }
    let started = started?;
    check!(started.status() == ScavengeStatus::Started, "the scavenge is {started:?}");
    let stopped = operators.stop_scavenge(started.id(), &Default::default()).await?;
    check!(stopped.status() == ScavengeStatus::Stopped, "the scavenge is {stopped:?}");
    let unknown = operators.stop_scavenge("another", &Default::default()).await;
    check!(matches!(unknown, Err(Error::ResourceNotFound)), "stopped {unknown:?}");
    Ok(())
}

async fn for_clusters(operators: &Operators) -> Outcome {
    operators.merge_indexes(&Default::default()).await?;
    operators.resign_node(&Default::default()).await?;
    operators.set_node_priority(1, &Default::default()).await?;
    operators.restart_persistent_subscriptions(&Default::default()).await?;
    Ok(())
}
