//! Compiles the server's own definitions to a client, without the server's code.

use std::error::Error;

const PROTO: &str = "../../crates/gesta-server/proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let files = protox::compile(["streams.proto"], [PROTO])?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .bytes(".")
        .btree_map(".")
        .include_file("packages.rs")
        .compile_fds(files)?;
    Ok(())
}
