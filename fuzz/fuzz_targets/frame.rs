//! A frame of another member.

#![no_main]
#![allow(dead_code, reason = "each target puts one of the harness's questions")]

#[path = "../../core/tests/decoding/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    harness::frame(data);
});
