#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baskd::backend::hostile::child(data));
