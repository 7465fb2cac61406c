//! The ark-lattice command.

use std::process::ExitCode;

/// The system's own one spends a tenth of a request's time and keeps what a crowd of clients once needed: docs/PERFORMANCE.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ark_lattice::cli::run(std::env::args_os())
}
