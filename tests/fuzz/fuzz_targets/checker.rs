#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fgi_tests::fuzz::checker(input));
