//! What strangers may cost us and where they may lead us: allowances of requests, of connections and of new ids; the addresses that
//! may be asked; and who belongs to our network. Decides, and touches nothing.

mod buckets;
mod connections;
mod payer;

pub use buckets::{Allowance, Class, Limited, Limiter, Quotas};
pub use connections::{Connections, OpenOfAddress, TooMany};
pub use payer::{Caller, Payer};
