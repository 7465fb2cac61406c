#![no_main]
// The module is private to its room: its source is compiled here once more.
#[path = "../../src/federation/lan/dns.rs"]
mod dns;
#[path = "../targets/dns.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
