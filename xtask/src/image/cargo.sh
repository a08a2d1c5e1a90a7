#!/bin/sh
# Stands in for cargo in a step of a Dockerfile. Cargo itself reads the manifests and the lock file
# of the context and plans the build, then the program that was built before takes the place of what
# it would build.
set -eu
RUSTC_BOOTSTRAP=1 /usr/local/rustup/toolchain/bin/cargo "$@" -Z unstable-options --unit-graph >/unit-graph.json
mkdir -p target/release
cp /given/* target/release/
