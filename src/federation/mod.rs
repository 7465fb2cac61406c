//! Between instances: what decides (`merge`) touches nothing; `client` speaks.

pub mod client;
pub mod merge;
