#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cfgsync_fuzz::wire(data));
