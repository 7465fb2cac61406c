//! What a valid signature is allowed to do: bindings of keys to ids, freshness, levels, and the log of what was decided. Pure but for
//! `file.rs`, which keeps the log: no clock of its own, no IO.

pub mod audit;
pub mod certificate;
pub mod chain;
pub mod challenge;
pub mod file;
pub mod freshness;
pub mod invite;
pub mod kept_statements;
mod key_changes;
mod key_line;
pub mod levels;
mod nonces;
mod policy;
mod refusals;
mod state;
mod store;
mod version;
pub mod words;

pub use audit::{Audit, Entry};
pub use freshness::{Accepted, Follows, FreshnessError};
pub use key_changes::{StatementSource, TooManyChanges};
pub use key_line::{KeyChange, KeyEvents, KeyLine, KeyLineError, Known, LineChange};
pub use levels::{Named, Right, Rules};
pub use nonces::{Nonces, ReplayError, Stamp};
pub use policy::{
    Admitted, Binding, MAX_SKEW, MAX_STATEMENT_AGE, Standing, TrustError, TrustLevel, TrustMode, TrustPolicy, check_age,
};
pub use refusals::Refusal;
pub use state::Record;
pub use store::{Decision, DecisionError, Distrust, TrustStore, accept_command};
pub use version::{MAX_SUPERSEDED, Pin, Step, VersionError};

#[cfg(test)]
mod tests;
