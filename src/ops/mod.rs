//! One operation, many doors: what the HTTP routes, the commands and later transports have in common. No HTTP, no terminal.

mod context;
mod discover;
mod health;
mod nodes;
mod register;
mod sync;

pub use context::{Context, Identity};
pub use discover::{DiscoverFilter, Discovered, Peer, discover, envelope};
pub use health::{Health, PartHealth, health};
pub use nodes::{delete_node, get_node, list_nodes, put_node};
pub use register::{RegisterError, Registration, register};
pub use sync::{Delta, NodeStream, SyncError, SyncRequest, sync};

/// What operations take and give, for the doors: they need not know the rooms behind.
pub use crate::{
    lattice::{
        Entry, LatticeError, LatticeStatus, NodeDocument, NodeError, NodeFilter, NodePage, Precondition, StoredNode,
        Tombstone, Written,
    },
    registry::{PeerCursor, RegistryError},
    trust::{Step, TrustLevel},
};
