//! Between instances: what decides (`round`, `merge`) touches nothing; `wire` is the form of what is exchanged; `client` and
//! `exchange` speak; `run` carries a round out; `engine` does it again and again, with every peer;
//! `lan` finds new ones.

pub mod client;
pub mod control;
pub mod deletions;
pub mod engine;
pub mod events;
pub mod exchange;
pub mod failure;
pub mod feed;
pub mod filter;
mod gate;
pub mod history;
pub mod inbound;
pub mod inbox;
pub mod introduce;
pub mod invites;
pub mod lan;
pub mod left_out;
pub mod lines;
pub mod membership;
pub mod observe;
pub mod offload;
pub mod operator;
pub mod originals;
pub mod own_addresses;
pub mod pace;
mod pauses;
mod peer_address;
pub mod peers;
pub mod promise;
pub mod rate;
pub mod reconcile;
pub mod remote;
pub mod resolver;
pub mod round;
pub mod run;
pub mod settings_peers;
mod trusting;
pub mod twins;
mod unpack;
pub mod waiting;
mod watch;
pub mod webhooks;
pub mod wire;

pub use peer_address::peer_address;
