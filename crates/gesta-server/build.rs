//! Compiles `proto/` with protox, which needs no `protoc` and downloads nothing.
//!
//! Owns: the options of the generated code, for the server (`OUT_DIR/server`) and for the raw
//! client of the tests (`OUT_DIR/client`), and the list of all calls (`OUT_DIR/methods.rs`), which
//! a test compares with the table of access. Not here: the definitions.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 11] = [
    "streams.proto",
    "streams_v2.proto",
    "streams_v2_errors.proto",
    "persistent.proto",
    "projections.proto",
    "gossip.proto",
    "server_features.proto",
    "users.proto",
    "operations.proto",
    "monitoring.proto",
    "gesta_appends.proto",
];

/// Messages of recorded events. The server has a type of its own for them.
const RECORDS: [&str; 2] = [
    ".event_store.client.streams.ReadResp.ReadEvent.RecordedEvent",
    ".event_store.client.persistent_subscriptions.ReadResp.ReadEvent.RecordedEvent",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let files = protox::compile(FILES, ["proto"])?;
    let methods = files.file.iter().flat_map(|file| {
        file.service.iter().flat_map(move |service| {
            service.method.iter().map(move |method| {
                format!("\"/{}.{}/{}\",\n", file.package(), service.name(), method.name())
            })
        })
    });
    fs::write(out.join("methods.rs"), format!("&[\n{}]\n", methods.collect::<String>()))?;
    for (folder, is_server) in [("server", true), ("client", false)] {
        let folder = out.join(folder);
        fs::create_dir_all(&folder)?;
        let mut config = tonic_prost_build::Config::new();
        // The details of an error carry the name of their type.
        config.enable_type_names();
        if is_server {
            for record in RECORDS {
                config.extern_path(record, "crate::proto::Record");
            }
        }
        tonic_prost_build::configure()
            .build_server(is_server)
            .build_client(!is_server)
            .build_transport(false)
            // Payloads are handed on without a copy, and metadata in one order.
            .bytes(".")
            .btree_map(".")
            .emit_rerun_if_changed(false)
            .out_dir(folder)
            .include_file("packages.rs")
            .compile_fds_with_config(files.clone(), config)?;
    }
    Ok(())
}
