//! One operation, many doors: what the HTTP routes, the commands and later transports have in common. No HTTP, no terminal.

mod context;
mod discover;
mod health;
mod import;
mod keys;
mod local;
mod nodes;
mod pull;
mod register;
mod remote;
mod statement;
mod sync;

pub use context::{Context, Identity};
pub use discover::{DiscoverFilter, Discovered, Peer, discover, envelope};
pub use health::{Health, PartHealth, health};
pub use import::{ImportError, ImportReport, Importable, Refusal, find_nodes, import};
pub use keys::{generate_key, read_key};
pub use local::{LocalError, hash_node, put_local};
pub use nodes::{delete_node, get_node, list_nodes, put_node};
pub use pull::{PullError, PullReport, Standing, pull};
pub use register::{RegisterError, Registration, register};
pub use remote::{RemoteError, RemotePeer, discover_remote, publish};
pub use statement::{Statement, build_manifest, is_envelope, sign_manifest, verify_manifest};
pub use sync::{Delta, NodeStream, SyncError, SyncRequest, sync};

/// What operations take and give, for the doors: they need not know the rooms behind.
pub use crate::{
    federation::client::{Client, ClientError, PeerQuery, Probe},
    identity::{KeyError, KeyFileError, KeyPair},
    lattice::offline::{Listing, OfflineDirectory, OfflineError, OfflineNode, write_file},
    lattice::{
        Entry, LatticeError, LatticeStatus, NodeDocument, NodeError, NodeFilter, NodePage, Precondition, StoredNode,
        Tombstone, Written,
    },
    manifest::{Canonicalization, EnvelopeError, MAX_SEQ},
    registry::{PeerCursor, RegistryError},
    trust::{Step, TrustLevel},
};
