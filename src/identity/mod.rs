//! This instance's key pair, the file that keeps it, and the requests that it signs.

mod key_file;
mod key_pair;
pub mod message;
pub mod trace_proof;

pub use key_file::{KeyFileError, read, write_new};
pub use key_pair::{KeyError, KeyPair};
