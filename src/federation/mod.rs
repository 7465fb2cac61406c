//! Between instances: what decides (`round`, `merge`) touches nothing; `wire` is the form of what is exchanged; `client` speaks.

pub mod client;
pub mod merge;
pub mod round;
pub mod wire;
