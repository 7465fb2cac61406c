//! Between instances: what decides (`round`, `merge`) touches nothing; `wire` is the form of what is exchanged; `client` speaks.

pub mod client;
pub mod exchange;
pub mod feed;
pub mod merge;
pub mod peers;
pub mod round;
pub mod run;
pub mod wire;
