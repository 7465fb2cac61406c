//! What a valid signature is allowed to do: bindings of keys to ids, freshness, levels. Pure: no clock, no IO.

mod nonces;
mod policy;
mod version;

pub use nonces::{Nonces, ReplayError};
pub use policy::{Admitted, Binding, MAX_SKEW, TrustError, TrustLevel, TrustMode, TrustPolicy};
pub use version::{Pin, Step, VersionError};

#[cfg(test)]
mod tests;
