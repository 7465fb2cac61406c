#![no_main]
// The module is private to its room: its source is compiled here once more, over the same public types.
use ark_lattice::types;
#[path = "../../src/lattice/file_name.rs"]
mod file_name;
#[path = "../targets/file_name.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
