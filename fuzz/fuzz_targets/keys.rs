#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cfgsync_fuzz::keys(data));
