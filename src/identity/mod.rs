//! This instance's key pair, the files that keep it, what is said of it (statements), and the requests that it signs.

mod key_file;
mod key_pair;
mod keyring;
pub mod message;
mod recovery;
mod sealed;
mod statement;
pub mod trace_proof;

pub use key_file::{KeyFileError, read, read_under, write_new, write_new_under};
pub use key_pair::{KeyError, KeyPair};
pub use keyring::{Change, Held, KeyChangeError, KeyPlace, Keyring, Shown};
pub use recovery::{RecoveryWords, WORDS, WordsError};
pub use sealed::{MIN_PASSPHRASE_CHARS, SealError, SealedKey};
pub use statement::{
    KeyLog, MAX_REASON_CHARS, MAX_STATEMENTS, STATEMENT_PAYLOAD_TYPE, SignedStatement, Statement, StatementError,
    StatementKind,
};
