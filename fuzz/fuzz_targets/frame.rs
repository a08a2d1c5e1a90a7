//! Decodes the input as a frame, unchanged and with corrected checksums.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| gesta_log::fuzzing::frame(input));
