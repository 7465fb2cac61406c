//! Between instances: what decides (`merge`) touches nothing; `client` speaks, `probe` asks how another is.

pub mod client;
pub mod merge;
pub mod probe;
