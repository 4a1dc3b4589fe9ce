#![no_main]

libfuzzer_sys::fuzz_target!(
    init: cfgsync_fuzz::ignore_caught_panics(),
    |data: &[u8]| cfgsync_fuzz::spec(data)
);
