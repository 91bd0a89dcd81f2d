#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baskd::net::any_split::connection(data));
