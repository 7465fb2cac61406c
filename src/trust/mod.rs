//! What a valid signature is allowed to do: bindings of keys to ids, freshness, levels. Pure: no clock, no IO.

mod key_line;
mod nonces;
mod policy;
mod version;

pub use key_line::{KeyEvents, KeyLine, KeyLineError, Known, LogKeyEvents};
pub use nonces::{Nonces, ReplayError};
pub use policy::{Admitted, Binding, MAX_SKEW, TrustError, TrustLevel, TrustMode, TrustPolicy};
pub use version::{Pin, Step, VersionError};

#[cfg(test)]
mod tests;
