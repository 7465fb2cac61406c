//! The ark-lattice command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ark_lattice::cli::run(std::env::args_os())
}
