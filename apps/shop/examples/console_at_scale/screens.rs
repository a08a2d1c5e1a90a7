//! Each screen of the console, at places in the midst of the store.

use jiff::Timestamp;

use crate::filling;

/// Returns the screens with their addresses.
pub(crate) fn all(streams: u64) -> Vec<(&'static str, String)> {
    of_parts(streams).into_iter().chain(of_events(streams)).collect()
}

/// Returns the number of an order, a user and an order that is paid from an account.
fn places(streams: u64) -> (u64, u64, u64) {
    let thousands = streams / 2 / 1_000 * 1_000;
    (thousands + 3, thousands, thousands + 2)
}

fn of_parts(streams: u64) -> Vec<(&'static str, String)> {
    let (_, user, paid) = places(streams);
    let process = |show: &str| format!("#/process?name=welcome&show={show}");
    vec![
        ("start", "#/start".to_owned()),
        ("projections", "#/projections".to_owned()),
        ("a projection", "#/projection?name=order-summaries".to_owned()),
        ("dead letters", "#/dead-letters".to_owned()),
        ("processes", "#/processes".to_owned()),
        ("instances that run", process("running")),
        ("instances in trouble", process("troubled")),
        ("instances that have ended", process("ended")),
        ("all instances", process("all")),
        ("timers", process("timers")),
        ("inputs set aside", process("set-aside")),
        ("an instance", format!("#/instance?process=welcome&id={user}")),
        ("an instance with commands", format!("#/instance?process=fulfilment&id={paid}")),
        ("reactors", "#/reactors".to_owned()),
        ("a reactor", "#/reactor?name=welcome-mail".to_owned()),
        ("schemas", "#/schemas".to_owned()),
        ("a schema", "#/schema?type=order-placed".to_owned()),
        ("audit", "#/audit".to_owned()),
    ]
}

fn of_events(streams: u64) -> Vec<(&'static str, String)> {
    let (order, user, paid) = places(streams);
    let stream = filling::name(order);
    let conversation = format!("case-{order}");
    // A later time is refused.
    let now = Timestamp::now();
    let event = |address: &str| format!("#/event?{address}");
    let aggregate = |further: &str| format!("#/aggregate?category=order&id={order}{further}");
    vec![
        ("streams", "#/streams".to_owned()),
        ("streams of a prefix", "#/streams?prefix=order-12".to_owned()),
        ("streams of a category", "#/streams?prefix=account-".to_owned()),
        ("a stream", format!("#/stream?name={stream}")),
        ("an event", event(&format!("stream={stream}&revision=5"))),
        ("an event by its id", event(&format!("id={}", filling::id(order, 7)))),
        ("an event with effects", event(&format!("stream={}&revision=0", filling::name(paid)))),
        ("timeline", format!("#/lanes?correlation={conversation}")),
        ("timeline of streams", format!("#/lanes?stream={stream}&stream={}", filling::name(user))),
        ("story", format!("#/story?correlation={conversation}")),
        ("story with a process", format!("#/story?correlation=case-{paid}")),
        ("aggregates", "#/aggregates".to_owned()),
        ("an aggregate", aggregate("")),
        ("at a revision", aggregate("&revision=4")),
        ("as of a time", aggregate(&format!("&asOf={now}"))),
        ("query", "#/query".to_owned()),
        ("query of a category", "#/query?category=account".to_owned()),
        ("query of a type", "#/query?type=order-delivered".to_owned()),
        ("query of a rare type", "#/query?type=product-added".to_owned()),
        ("query of a tag", "#/query?tag=customer:77".to_owned()),
        ("query of a stream", format!("#/query?stream={stream}")),
        ("query of a conversation", format!("#/query?correlation={conversation}")),
        // The store has an index for one of the two, and the page reads on for a while.
        ("query without a match", "#/query?category=none&type=order-placed".to_owned()),
        ("query from a time", "#/query?from=2020-01-01T00:00:00Z&direction=forwards".to_owned()),
        ("live", "#/live".to_owned()),
    ]
}
