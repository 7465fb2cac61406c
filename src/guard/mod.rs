//! What strangers may cost us and where they may lead us: allowances of requests, of connections and of new ids; the addresses that
//! may be asked; and who belongs to our network. Decides, and touches nothing.

mod buckets;
mod connections;
mod network;
mod payer;
mod pool;
mod reach;

pub use buckets::{Allowance, Class, Limited, Limiter, Quotas};
pub use connections::{Certified, Connections, OpenConnection, connections_within, descriptors_for};
pub use network::{
    ANYBODY, Asked, FIRST_ROUTE, Member, NETWORK_HEADER, NETWORK_WINDOW, NetworkKey, NoRandomness, is_open_path,
};
pub use payer::{Caller, Payer};
pub use pool::{Holder, Pool, PoolBounds, PoolFull, PoolPart};
pub use reach::{InnerPeers, Kind, OutOfReach, PlainHttp, Reach, kind};
