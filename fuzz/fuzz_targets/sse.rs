//! See `mai_usage_fuzz::sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mai_usage_fuzz::sse(data));
