//! Compiles `proto/` with protox, which needs no `protoc` and downloads nothing.
//!
//! Owns: the options of the generated clients (`OUT_DIR/packages.rs`). Not here: the definitions.

use std::error::Error;

const FILES: [&str; 6] = [
    "streams.proto",
    "streams_v2.proto",
    "streams_v2_errors.proto",
    "gossip.proto",
    "server_features.proto",
    "gesta_appends.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        // Payloads are handed on without a copy, and metadata in one order.
        .bytes(".")
        .btree_map(".")
        .emit_rerun_if_changed(false)
        .include_file("packages.rs")
        .compile_fds(files)?;
    Ok(())
}
