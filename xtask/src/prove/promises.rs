//! The table of promises.

use super::{
    check::{CargoRun, Check},
    figures,
};

/// A promise and the checks that verify it.
pub(super) struct Promise {
    /// Argument that selects it: a number for the shop, a word for the engine.
    pub(super) name: &'static str,
    pub(super) statement: &'static str,
    pub(super) checks: &'static [Check],
}

const TEST_TIME: CargoRun = CargoRun {
    arguments: "xtask test",
    built_apart: None,
    if_full: None,
    figures: figures::test_time,
};
const SIMULATION: CargoRun = CargoRun {
    arguments: "run --release --package gesta-sim --bin gesta-sim -- 10000",
    built_apart: None,
    if_full: None,
    figures: figures::simulation,
};
/// The engine with threads of `shuttle`, and with mutations between threads.
const SHUTTLE: Option<(&str, &str)> = Some(("shuttle", "--cfg gesta_shuttle --cfg gesta_planted"));
const SCHEDULES: CargoRun = CargoRun {
    arguments: "test --package gesta-log --lib -- --show-output shuttle_tests:: --skip \
                shuttle_tests::mutations::",
    built_apart: SHUTTLE,
    if_full: Some(("GESTA_SCHEDULES", "100000")),
    figures: figures::schedules,
};
const THREAD_MUTATIONS: CargoRun = CargoRun {
    arguments: "test --package gesta-log --lib -- --show-output shuttle_tests::mutations::",
    built_apart: SHUTTLE,
    if_full: None,
    figures: figures::caught,
};

#[rustfmt::skip]
pub(super) const PROMISES: [Promise; 23] = [
    Promise {
        name: "1",
        statement: "two commands run the system and its tests, on a clean checkout",
        checks: &[
            Check::e2e("`shop demo` serves the system", "shop", "demo::the_demo"),
            Check::cargo("the test command takes under ten minutes", TEST_TIME).full_only(),
        ],
    },
    Promise {
        name: "2",
        statement: "an import ends in the expected report, however often it is killed",
        checks: &[
            Check::e2e("the report is exactly the expected one, even after a second import",
                "shop", "import::the_report"),
            Check::e2e("kills, each followed by an import, end in the same report",
                "shop", "import::every_import_after_a_kill"),
        ],
    },
    Promise {
        name: "3",
        statement: "an append is acknowledged after a sync that covers it",
        checks: &[
            Check::e2e("a traced program on the real disk acknowledges nothing early",
                "gesta-bench", "acknowledged::nothing"),
            Check::e2e("an early acknowledgement, added as a mutation, fails that check",
                "gesta-bench", "acknowledged::an_early"),
            Check::suite("a disk that drops unsynced writes loses nothing acknowledged",
                "gesta-sim", "seeds::"),
            Check::cargo("the same for ten thousand seeds", SIMULATION).full_only(),
        ],
    },
    Promise {
        name: "4",
        statement: "the import costs at most twice its bare writes and syncs",
        checks: &[
            Check::e2e("time against the bare writes and syncs, and memory",
                "shop", "import::an_import_costs").full_only(),
            Check::e2e("progress on a terminal, none in a pipe",
                "shop", "import::progress").full_only(),
        ],
    },
    Promise {
        name: "5",
        statement: "every route answers every kind of request as documented",
        checks: &[
            Check::suite("each route, each status", "shop", "http::"),
            Check::e2e("schemathesis finds nothing, and every operation gets a 2xx from it",
                "shop", "schemathesis::schemathesis").full_only(),
        ],
    },
    Promise {
        name: "6",
        statement: "a command's writer reads its own write",
        checks: &[
            Check::e2e("1,000 of 1,000 under 16 writers, with the p99 of the wait",
                "shop", "own_writes::every_writer"),
        ],
    },
    Promise {
        name: "7",
        statement: "an acknowledged command takes effect once, through any kill",
        checks: &[Check::e2e("kills under 32 writers", "shop", "serve_kills::every_acknowledged")],
    },
    Promise {
        name: "8",
        statement: "a read model is rebuilt while it is read",
        checks: &[
            Check::suite("queries answer from the old version until the switch, through kills",
                "gesta", "rebuild"),
            Check::e2e("a served shop under load resumes its rebuilds after kills",
                "shop", "rebuild_kills::rebuilds_resume"),
            Check::suite("a dead letter is repaired by a retry", "gesta", "a_retry_repairs_the_row"),
            Check::e2e("a dead letter of a served shop is kept through a kill and repaired",
                "shop", "dead_letters::a_dead_letter"),
            Check::suite("version-1 bytes read through the upcaster", "gesta", "each_version_is_read"),
            Check::suite("on-read answers equal a full replay", "gesta", "on_read::"),
        ],
    },
    Promise {
        name: "9",
        statement: "damage and misuse are found and reported",
        checks: &[
            Check::suite("a second process on a directory gets a clear error",
                "gesta-log", "crashes::a_second_opening"),
            Check::suite("a flipped byte is reported with segment, offset and positions",
                "gesta-log", "damage::"),
            Check::suite("a store with a torn group opens and reports what it cut",
                "gesta-log", "crashes::a_torn_group"),
        ],
    },
    Promise {
        name: "operations-kills",
        statement: "dead letters stay until an operator decides, through any kill",
        checks: &[
            Check::e2e("kills while setting aside, skipping, switching a rebuild, importing",
                "shop", "operations_kills::nothing_set_aside"),
        ],
    },
    Promise {
        name: "reactor-kills",
        statement: "each effect of a reactor happens, in order and with one key, through any kill",
        checks: &[
            Check::e2e("kills in the middle of a thousand effects, one stream refused at first",
                "gesta", "reactor_kills::every_effect"),
        ],
    },
    Promise {
        name: "lease-kills",
        statement: "a task runs on one node at a time, through kills and stops of nodes",
        checks: &[
            Check::e2e("three processes that share a lease, killed and stopped in turns",
                "gesta", "lease_kills::no_node_writes"),
        ],
    },
    Promise {
        name: "engine-kills",
        statement: "acknowledged appends survive any kill of the engine",
        checks: &[
            Check::e2e("kills on one growing store, read back by position, id, stream and tag",
                "gesta-bench", "kills::acknowledged_appends_survive_kills"),
        ],
    },
    Promise {
        name: "engine-loads",
        statement: "acknowledged appends survive a kill during each benchmark load",
        checks: &[
            Check::e2e("each load of the benchmarks, killed and read back",
                "gesta-bench", "kills::acknowledged_appends_survive_a_kill"),
        ],
    },
    Promise {
        name: "engine-syscalls",
        statement: "acknowledged appends survive a kill or failure at any system call of the engine",
        checks: &[
            Check::e2e("every call of a script killed, and failed with EIO and ENOSPC",
                "gesta-bench", "syscalls::acknowledged_appends"),
        ],
    },
    Promise {
        name: "engine-schedules",
        statement: "every append is answered, in every order of the engine's threads",
        checks: &[
            Check::cargo("threads, futures and subscribers under seeded schedules", SCHEDULES),
            Check::cargo("mutations between threads fail that check", THREAD_MUTATIONS),
        ],
    },
    Promise {
        name: "engine-verify",
        statement: "a store is verified as fast as it can be read, in bounded memory",
        checks: &[
            Check::e2e("the rate compared with cat, from the device",
                "gesta-cli", "a_store_is_verified").full_only(),
        ],
    },
    Promise {
        name: "server-load",
        statement: "a server loses nothing for 200 subscribers and 50 groups, in flat memory",
        checks: &[
            Check::e2e("slow and dying consumers, consumers without answers, and lost connections",
                "gesta-server", "load::subscribers_and_groups"),
        ],
    },
    Promise {
        name: "server-kills",
        statement: "clients of a killed server lose nothing acknowledged, and store nothing twice",
        checks: &[
            Check::e2e("kills under 16 writers, 4 subscribers and a group, with repeated appends",
                "gesta-server", "kills::acknowledged_events"),
        ],
    },
    Promise {
        name: "server-hostile",
        statement: "hostile input gets an error, takes bounded memory, and holds up no one else",
        checks: &[
            Check::e2e("fuzzed bytes, wrong messages, floods, slow and huge heads, idle peers",
                "gesta-server", "hostile::"),
        ],
    },
    Promise {
        name: "shop-hostile",
        statement: "slow, huge and silent clients of the shop take bounded memory, and others are \
                    served",
        checks: &[
            Check::e2e("slow heads, bodies and readers, idle connections, gzip bombs, deep JSON",
                "shop", "hostile::"),
        ],
    },
    Promise {
        name: "server-projections",
        statement: "a projection emits each event once through kills, and fails alone",
        checks: &[
            Check::e2e("kills while it emits an event for each",
                "gesta-server", "projections::a_projection_emits"),
            Check::e2e("endless loops and huge allocations beside a good script",
                "gesta-server", "projections::an_endless_loop"),
        ],
    },
    Promise {
        name: "checks",
        statement: "the checks find what they look for",
        checks: &[
            Check::tests("traces of system calls are read", "gesta-bench"),
            Check::tests("logs, reports and answers of a served shop are read", "shop"),
        ],
    },
];
