//! This instance's key pair and the file that keeps it.

mod key_file;
mod key_pair;

pub use key_file::{KeyFileError, read, write_new};
pub use key_pair::{KeyError, KeyPair};
