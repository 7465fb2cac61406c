//! The ark-lattice command.
fn main() {}
