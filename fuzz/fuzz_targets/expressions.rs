#![no_main]

libfuzzer_sys::fuzz_target!(
    init: cfgsync_fuzz::caught_panics_are_no_crashes(),
    |data: &[u8]| cfgsync_fuzz::expressions(data)
);
