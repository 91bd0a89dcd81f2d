#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baskd_protocol::properties::boundaries(data));
