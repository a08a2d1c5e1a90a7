//! Decodes the input as a frame, as it is and with its checksums made right.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gesta_log::fuzzing::frame(input));
