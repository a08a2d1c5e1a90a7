//! The schemas of bodies and answers, as JSON Schema.
//!
//! Invariant: objects list all of their members. A test compares answers of a server with them.

use serde_json::{Map, Value, json};

use super::{
    append_body::STREAMS_MAX,
    group_bodies::{SETTING_MAX, STRATEGIES},
    parameters::{LIMIT_MAX, NUMBER_MAX},
    problem::ProblemCode,
    streams_calls::RIGHTS,
};

/// Returns all schemas by their names.
pub(super) fn components() -> Map<String, Value> {
    let all = [
        ("Append", append()),
        ("Appended", appended()),
        ("NewEvent", new_event()),
        ("Event", event()),
        ("Expected", expected()),
        ("QueryItem", query_item()),
        ("Query", query()),
        ("StreamPage", stream_page()),
        ("StorePage", store_page()),
        ("Events", object(json!({ "events": events() }), &["events"])),
        ("Names", names()),
        ("Described", described()),
        ("SetMetadata", set_metadata()),
        ("Changed", object(json!({ "position": position() }), &["position"])),
        ("Head", head()),
        ("Store", store()),
        ("Server", server()),
        ("Counts", counts()),
        ("Config", config()),
        ("Scavenge", scavenge()),
        ("LastScavenge", last_scavenge()),
        ("Upkeep", upkeep()),
        ("LastVerification", last_verification()),
        ("Backups", backups()),
        ("Groups", groups()),
        ("GroupSettings", group_settings()),
        ("GroupFilter", group_filter()),
        ("NewGroup", new_group()),
        ("Projections", projections()),
        ("NewProjection", new_projection()),
        ("ChangedProjection", changed_projection()),
        ("ProjectionState", projection_state()),
        ("NewUser", new_user()),
        ("ChangedUser", changed_user()),
        ("ChangedPassword", changed_password()),
        ("ResetPassword", reset_password()),
        ("User", user()),
        ("Users", object(json!({ "users": list(reference("User")) }), &["users"])),
        ("Problem", problem()),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// Returns a reference to a schema.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object with these members and no others.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn with_example(mut schema: Value, example: Value) -> Value {
    if let Value::Object(members) = &mut schema {
        members.insert("examples".to_owned(), json!([example]));
    }
    schema
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn about(mut schema: Value, description: &str) -> Value {
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), description.into());
    }
    schema
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": NUMBER_MAX })
}

fn position() -> Value {
    about(number(), "A place in the store. Positions are in commit order; compare them only.")
}

fn revision() -> Value {
    about(number(), "A place in a stream: 0, 1, 2, …")
}

fn events() -> Value {
    list(reference("Event"))
}

fn append() -> Value {
    let part = object(
        json!({
            "stream": text(),
            "expected": reference("Expected"),
            "events": about(list(reference("NewEvent")), "Without events it is a check only."),
        }),
        &["stream"],
    );
    let condition = object(
        json!({
            "noneMatching": { "type": "array", "items": reference("QueryItem"), "minItems": 1 },
            "after": position(),
        }),
        &["noneMatching", "after"],
    );
    let condition = about(
        condition,
        "No visible event after the position may match any of the items. The position is that of \
         the answer to the same query.",
    );
    let streams = json!({ "type": "array", "items": part, "minItems": 1, "maxItems": STREAMS_MAX });
    let schema = object(json!({ "streams": streams, "condition": condition }), &["streams"]);
    let example = json!({
        "streams": [{
            "stream": "order-1",
            "expected": "no-stream",
            "events": [{
                "id": "7b0a1f0e-51cb-4c1c-9d0c-0f6a3c1e2d4b",
                "type": "order-placed",
                "data": { "customer": "17850" },
                "tags": ["customer:17850"],
            }],
        }],
        "condition": {
            "noneMatching": [{ "types": ["customer-blocked"], "tags": ["customer:17850"] }],
            "after": 0,
        },
    });
    with_example(schema, example)
}

fn expected() -> Value {
    about(
        json!({ "anyOf": [number(), { "enum": ["any", "no-stream", "stream-exists"] }] }),
        "The revision that the stream must have, or a word. `any` if it is absent.",
    )
}

fn new_event() -> Value {
    let anything = json!({});
    object(
        json!({
            "id": about(
                json!({ "type": "string", "format": "uuid" }),
                "A retry with the same ids is recognized. Without it the server makes one, and a \
                 retry appends again.",
            ),
            "type": text(),
            "schemaVersion": { "type": "integer", "minimum": 1, "maximum": u16::MAX },
            "contentType": text(),
            "data": about(anything.clone(), "JSON, stored byte by byte as it comes."),
            "dataBase64": about(text(), "Any bytes, in place of `data`."),
            "metadata": about(anything, "JSON, stored byte by byte as it comes."),
            "metadataBase64": about(text(), "Any bytes, in place of `metadata`."),
            "tags": list(text()),
            "correlationId": text(),
            "causationId": text(),
        }),
        &["type"],
    )
}

fn appended() -> Value {
    let head = object(json!({ "stream": text(), "revision": revision() }), &["stream", "revision"]);
    object(
        json!({
            "position": about(number(), "Position of the last event."),
            "streams": about(list(head), "The streams that got events, with their new heads."),
            "repeated": about(
                json!({ "type": "boolean" }),
                "An earlier append has recorded these ids. The events in the store are those of \
                 the earlier append: ids are compared, data are not.",
            ),
        }),
        &["position", "streams", "repeated"],
    )
}

fn event() -> Value {
    let anything = json!({});
    object(
        json!({
            "position": position(),
            "stream": text(),
            "revision": revision(),
            "ordinal": about(number(), "Place in a stream of the index, such as `$ce-order`."),
            "id": { "type": "string", "format": "uuid" },
            "type": text(),
            "schemaVersion": { "type": "integer", "minimum": 0, "maximum": u16::MAX },
            "recordedAt": { "type": "string", "format": "date-time" },
            "contentType": text(),
            "data": about(anything.clone(), "JSON as it was stored."),
            "dataBase64": about(text(), "The data, if they are not JSON."),
            "metadata": about(anything, "JSON as it was stored."),
            "metadataBase64": about(text(), "The metadata, if they are not JSON."),
            "tags": list(text()),
            "correlationId": text(),
            "causationId": text(),
        }),
        &[
            "position",
            "stream",
            "revision",
            "id",
            "type",
            "schemaVersion",
            "recordedAt",
            "contentType",
            "tags",
        ],
    )
}

fn query_item() -> Value {
    let schema = object(json!({ "types": list(text()), "tags": list(text()) }), &[]);
    about(schema, "Matches events of any of the types that have all of the tags.")
}

fn query() -> Value {
    let schema = object(
        json!({
            "items": about(
                json!({ "type": "array", "items": reference("QueryItem"), "minItems": 1 }),
                "Events that match any of the items.",
            ),
            "after": position(),
            "before": position(),
            "fromTime": { "type": "string", "format": "date-time" },
            "direction": { "enum": ["forwards", "backwards"] },
            "limit": { "type": "integer", "minimum": 1, "maximum": LIMIT_MAX },
        }),
        &["items"],
    );
    let example = json!({ "items": [{ "tags": ["customer:17850"] }], "after": 0, "limit": 100 });
    with_example(schema, example)
}

fn stream_page() -> Value {
    object(
        json!({
            "stream": text(),
            "events": events(),
            "next": about(
                json!({ "type": ["integer", "null"], "minimum": 0 }),
                "The `from` of the next page. `null`: nothing is left in this direction.",
            ),
            "end": end(),
        }),
        &["stream", "events", "next", "end"],
    )
}

fn end() -> Value {
    about(json!({ "type": "boolean" }), "There are no more events in this direction now.")
}

fn store_page() -> Value {
    object(
        json!({
            "events": events(),
            "position": about(
                number(),
                "Everything up to it was in this page or an earlier one. It is the `after` of the \
                 next page, of a subscription, and of a condition; backwards, the `before`.",
            ),
            "end": end(),
        }),
        &["events", "position", "end"],
    )
}

fn names() -> Value {
    let next = about(json!({ "type": ["string", "null"] }), "The `after` of the next page.");
    object(json!({ "names": list(text()), "next": next }), &["names", "next"])
}

fn described() -> Value {
    object(
        json!({
            "stream": text(),
            "state": { "enum": ["missing", "live", "deleted", "tombstoned"] },
            "metadata": about(
                json!({ "type": "object" }),
                "`$maxAge` and `$cacheControl` in seconds, `$maxCount`, `$tb`, `$acl`, and any \
                 others.",
            ),
            "metadataRevision": about(
                json!({ "type": ["integer", "null"], "minimum": 0 }),
                "The `expected` of the next change; `null` if none were set.",
            ),
            "rights": about(
                list(json!({ "enum": RIGHTS.map(|(name, _)| name) })),
                "The rights of the caller to the stream.",
            ),
        }),
        &["stream", "state", "metadata", "metadataRevision", "rights"],
    )
}

fn set_metadata() -> Value {
    let metadata = json!({ "type": "object" });
    let members = json!({ "metadata": metadata, "expected": reference("Expected") });
    let example = json!({ "metadata": { "$maxCount": 1000 }, "expected": "any" });
    with_example(object(members, &["metadata"]), example)
}

fn head() -> Value {
    let incarnation = about(
        json!({ "type": "string", "format": "uuid" }),
        "Changes when events are lost that readers may have seen.",
    );
    let members = json!({ "position": position(), "incarnation": incarnation });
    object(members, &["position", "incarnation"])
}

fn store() -> Value {
    let size = json!({ "type": "integer", "minimum": 0 });
    let limits = object(
        json!({ "eventBytesMax": size, "appendBytesMax": size, "tagsMax": size }),
        &["eventBytesMax", "appendBytesMax", "tagsMax"],
    );
    object(
        json!({
            "features": about(list(text()), "The optional features that the store has."),
            "durability": { "enum": ["volatile", "buffered", "synced", "unknown"] },
            "repeatWindowAppends": about(
                number(),
                "Number of last appends among which a repeat without an exact revision is \
                 recognized.",
            ),
            "limits": limits,
        }),
        &["features", "durability", "repeatWindowAppends", "limits"],
    )
}

fn server() -> Value {
    object(
        json!({
            "version": text(),
            "environment": about(text(), "The name of the environment, if the server has one."),
            "store": about(text(), "The name of the store, without a password."),
            "secure": about(json!({ "type": "boolean" }), "It has TLS and users."),
            "login": about(text(), "The login of the caller."),
            "startedAt": { "type": "string", "format": "date-time" },
            "uptimeSeconds": { "type": "number", "minimum": 0 },
            "operations": about(
                list(text()),
                "Methods and paths that the user of the request may use, such as \
                 `DELETE /v1/users/{login}`. Paths about streams also need a right to the stream.",
            ),
        }),
        &["version", "secure", "startedAt", "uptimeSeconds", "operations"],
    )
}

fn counts() -> Value {
    object(
        json!({
            "events": about(number(), "The position of the last event."),
            "streams": about(number(), "Streams that have events, without those of the system."),
            "streamsAreAll": about(
                json!({ "type": "boolean" }),
                "`false`: there are more than `limit`, which alone are counted.",
            ),
            "categories": number(),
            "categoriesAreAll": about(
                json!({ "type": "boolean" }),
                "`false`: there are more than `limit`, which alone are counted.",
            ),
        }),
        &["events", "streams", "streamsAreAll", "categories", "categoriesAreAll"],
    )
}

fn config() -> Value {
    let setting = all_of(json!({
        "name": text(),
        "values": about(list(text()), "Empty: it is not set. Passwords are hidden."),
        "source": about(text(), "Such as `option --listen`, or the path of a settings file."),
    }));
    all_of(json!({ "settings": list(setting) }))
}

fn scavenge() -> Value {
    all_of(json!({
        "scavengeId": { "type": "string", "format": "uuid" },
        "state": { "enum": ["running", "completed", "stopped", "failed"] },
        "error": about(json!({ "type": ["string", "null"] }), "Why it has failed."),
        "startedAt": { "type": "string", "format": "date-time" },
        "endedAt": { "type": ["string", "null"], "format": "date-time" },
        "bytesDone": about(number(), "Bytes that were examined."),
        "bytesTotal": about(number(), "Bytes to examine."),
        "bytesReclaimed": about(number(), "May be known only at the end."),
        "eventsRemoved": about(number(), "May be known only at the end."),
    }))
}

fn last_scavenge() -> Value {
    all_of(json!({
        "supported": about(
            json!({ "type": "boolean" }),
            "`false`: only a store in a directory is scavenged.",
        ),
        "last": { "anyOf": [reference("Scavenge"), { "type": "null" }] },
    }))
}

fn upkeep() -> Value {
    let verified = all_of(json!({
        "sound": { "type": "boolean" },
        "events": about(number(), "Readable events."),
        "damage": about(list(text()), "Each damaged place."),
        "indexDamage": about(list(text()), "Damage of the index, which can be built anew."),
    }));
    let backed_up = all_of(json!({
        "position": about(number(), "Position of the last event in it."),
        "bytes": number(),
        "bytesCopied": about(number(), "The others were there and intact."),
    }));
    all_of(json!({
        "id": { "type": "string", "format": "uuid" },
        "name": about(json!({ "type": ["string", "null"] }), "Name of the backup."),
        "state": { "enum": ["running", "completed", "stopped", "failed"] },
        "error": about(json!({ "type": ["string", "null"] }), "Why it has failed."),
        "startedAt": { "type": "string", "format": "date-time" },
        "endedAt": { "type": ["string", "null"], "format": "date-time" },
        "bytesDone": number(),
        "bytesTotal": number(),
        "result": { "anyOf": [verified, backed_up, { "type": "null" }] },
    }))
}

fn last_verification() -> Value {
    all_of(json!({
        "supported": about(
            json!({ "type": "boolean" }),
            "`false`: only a store in a directory is verified.",
        ),
        "last": { "anyOf": [reference("Upkeep"), { "type": "null" }] },
    }))
}

fn backups() -> Value {
    let backup = all_of(json!({
        "name": text(),
        "position": number_or_null(),
        "bytes": number_or_null(),
        "takenAt": { "type": ["string", "null"], "format": "date-time" },
        "error": about(json!({ "type": ["string", "null"] }), "Why it cannot be read."),
    }));
    all_of(json!({
        "supported": about(
            json!({ "type": "boolean" }),
            "`false`: the store is in no directory, or the server has none for backups.",
        ),
        "last": { "anyOf": [reference("Upkeep"), { "type": "null" }] },
        "backups": list(backup),
    }))
}

fn setting(description: &str) -> Value {
    let number = json!({ "type": "integer", "minimum": 0, "maximum": SETTING_MAX });
    about(number, description)
}

fn group_settings() -> Value {
    let start = json!({ "anyOf": [number(), { "enum": ["start", "end"] }] });
    let flag = || json!({ "type": "boolean" });
    let schema = object(
        json!({
            "startFrom": about(start, "The first event: a revision, a position of `$all`, or a word."),
            "resolveLinks": about(flag(), "Delivers the targets of links."),
            "extraStatistics": about(flag(), "Measures how long consumers take."),
            "messageTimeoutMs": setting("Time for an answer; 0 waits for ever."),
            "maxRetryCount": setting("Deliveries after the first one, before an event is parked."),
            "minCheckpointCount": setting("Least number of events between two checkpoints."),
            "maxCheckpointCount": setting("Largest number of events between two checkpoints."),
            "checkpointAfterMs": setting("Time between two checkpoints."),
            "maxSubscriberCount": setting("Consumers at once; 0 has no limit."),
            "liveBufferSize": setting("Events that wait while the group is live."),
            "readBatchSize": setting("Events that are read at once; below `historyBufferSize`."),
            "historyBufferSize": setting("Events that wait while the group catches up."),
            "strategy": { "enum": STRATEGIES },
        }),
        &[],
    );
    let schema = about(schema, "In a body, a setting that is left out stays.");
    with_example(schema, json!({ "maxRetryCount": 3 }))
}

fn group_filter() -> Value {
    object(
        json!({
            "on": { "enum": ["stream", "eventType"] },
            "regex": about(text(), "An expression that names must match."),
            "prefixes": about(list(text()), "Beginnings of names, in place of the expression."),
        }),
        &["on"],
    )
}

fn new_group() -> Value {
    let schema = object(
        json!({
            "source": about(text(), "The stream that the group reads, or `$all`."),
            "name": text(),
            "settings": about(
                reference("GroupSettings"),
                "A setting that is left out is that of official clients; the group begins at the \
                 end.",
            ),
            "filter": about(reference("GroupFilter"), "Selects events of `$all`."),
        }),
        &["source", "name"],
    );
    let example =
        json!({ "source": "order-1", "name": "mail", "settings": { "startFrom": "start" } });
    with_example(schema, example)
}

fn number_or_null() -> Value {
    json!({ "type": ["integer", "null"], "minimum": 0 })
}

fn groups() -> Value {
    let consumer = object(
        json!({
            "name": text(),
            "address": text(),
            "login": text(),
            "inFlight": number(),
            "freeSlots": number(),
            "delivered": number(),
        }),
        &["name", "address", "login", "inFlight", "freeSlots", "delivered"],
    );
    let group = json!({
        "source": about(text(), "The stream that the group reads, or `$all`."),
        "name": text(),
        "status": { "enum": ["behind", "live", "replaying", "failed"] },
        "failure": about(json!({ "type": ["string", "null"] }), "Why the source cannot be read."),
        "checkpoint": about(
            number_or_null(),
            "Everything up to it is finished. A revision of the source, or a position of `$all`.",
        ),
        "lastKnown": about(number_or_null(), "The last place that was read."),
        "parked": about(number(), "Events that are parked."),
        "parkedStream": about(text(), "The stream of links to them."),
        "waiting": about(number(), "Events that wait for their first delivery."),
        "retried": about(number(), "Events that wait for a further delivery."),
        "inFlight": about(number(), "Events that were delivered and not answered."),
        "delivered": about(number(), "Deliveries since the start of the group here."),
        "deliveredPerSecond": number(),
        "settings": reference("GroupSettings"),
        "filter": json!({ "anyOf": [reference("GroupFilter"), { "type": "null" }] }),
        "consumers": list(consumer),
    });
    object(json!({ "groups": list(all_of(group)) }), &["groups"])
}

fn projections() -> Value {
    let projection = json!({
        "name": text(),
        "mode": { "enum": ["Continuous", "OneTime", "Transient"] },
        "status": about(text(), "A word of the protocol, such as `Running` or `Faulted`."),
        "reason": about(text(), "Why it waits or has failed; else empty."),
        "position": position(),
        "checkpoint": position(),
        "progressPercent": { "type": "number", "minimum": 0, "maximum": 100 },
        "handled": about(number(), "Events that its handlers have seen since the server started."),
        "partitions": about(number(), "Partitions whose states are in memory."),
        "ofSystem": about(
            json!({ "type": "boolean" }),
            "It is the store's index under another name, and has no script.",
        ),
        "query": about(json!({ "type": ["string", "null"] }), "The script."),
    });
    object(json!({ "projections": list(all_of(projection)) }), &["projections"])
}

fn script() -> Value {
    about(text(), "The script, in the language of projections.")
}

fn emits() -> Value {
    about(json!({ "type": "boolean" }), "It may append events, with `emit` and `linkTo`.")
}

fn new_projection() -> Value {
    let schema = object(
        json!({
            "name": text(),
            "query": script(),
            "mode": about(
                json!({ "enum": ["continuous", "transient"] }),
                "`continuous` if it is absent. A transient one keeps its progress in memory.",
            ),
            "emits": emits(),
            "tracksStreams": about(
                json!({ "type": "boolean" }),
                "It records the names of the streams that it emits to, so that they can be \
                 deleted with it.",
            ),
        }),
        &["name", "query"],
    );
    let query = "fromCategory('order').when({ $init: () => ({ placed: 0 }), \
        'order-placed': (state) => { state.placed += 1 } })";
    with_example(schema, json!({ "name": "orders-placed", "query": query }))
}

fn changed_projection() -> Value {
    let schema = object(json!({ "query": script(), "emits": emits() }), &["query"]);
    let query = "fromCategory('order').when({ $init: () => ({ events: 0 }), \
        $any: (state) => { state.events += 1 } })";
    with_example(schema, json!({ "query": query }))
}

fn projection_state() -> Value {
    all_of(json!({
        "partition": text(),
        "state": about(json!({}), "The state as JSON; `null` if the script has made none."),
        "result": about(json!({}), "The result as JSON; `null` if there is none."),
    }))
}

fn password() -> Value {
    about(text(), "A password, which is stored as its hash.")
}

fn groups_of_user() -> Value {
    about(list(text()), "`$admins` may do everything, `$ops` operate; other names are for lists.")
}

fn new_user() -> Value {
    let members = json!({
        "login": text(),
        "fullName": text(),
        "groups": groups_of_user(),
        "password": password(),
    });
    let example = json!({ "login": "ann", "fullName": "Ann Miller", "password": "a long secret" });
    with_example(object(members, &["login", "password"]), example)
}

fn changed_user() -> Value {
    let schema = all_of(json!({ "fullName": text(), "groups": groups_of_user() }));
    with_example(schema, json!({ "fullName": "Ann Miller", "groups": ["$ops"] }))
}

fn changed_password() -> Value {
    let schema = all_of(json!({ "currentPassword": text(), "password": password() }));
    let example = json!({ "currentPassword": "a long secret", "password": "a longer secret" });
    with_example(schema, example)
}

fn reset_password() -> Value {
    let schema = all_of(json!({ "password": password() }));
    with_example(schema, json!({ "password": "a long secret" }))
}

fn user() -> Value {
    all_of(json!({
        "login": text(),
        "fullName": text(),
        "groups": groups_of_user(),
        "disabled": about(json!({ "type": "boolean" }), "They cannot log in."),
        "changedAt": { "type": "string", "format": "date-time" },
    }))
}

/// An object with these members, all of which are always there.
fn all_of(properties: Value) -> Value {
    let names = properties.as_object().map(|all| all.keys().cloned().collect::<Vec<_>>());
    let names = names.unwrap_or_default();
    object(properties, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn problem() -> Value {
    let codes: Vec<_> = ProblemCode::ALL.iter().map(|code| code.facts().1).collect();
    object(
        json!({
            "type": { "const": "about:blank" },
            "title": text(),
            "status": { "type": "integer" },
            "code": about(json!({ "enum": codes }), "Stable; branch on it."),
            "detail": about(text(), "The failure, for people."),
            "advice": about(text(), "The reaction, for people."),
            "outcome": about(
                json!({ "const": "unknown" }),
                "The change may have happened. Send it again with the same event ids.",
            ),
            "field": about(text(), "The field, parameter or header to correct."),
            "stream": text(),
            "expected": reference("Expected"),
            "revision": about(
                json!({ "type": ["integer", "null"], "minimum": 0 }),
                "The current revision of the stream; `null` if it has none.",
            ),
            "position": about(number(), "The position that the detail speaks of."),
            "id": about(text(), "The event id that the detail speaks of."),
            "actual": about(number(), "The size that exceeds the limit."),
            "limit": about(number(), "The limit that is exceeded."),
        }),
        &["type", "title", "status", "code", "detail", "advice"],
    )
}
