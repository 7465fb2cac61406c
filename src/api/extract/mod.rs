//! What handlers take: bounded bodies, ids from paths, the operator's proof, preconditions.

mod audited;
mod body;
mod budget;
mod buffers;
mod control;
mod door;
mod holder;
mod operator;
mod path;
mod precondition;
mod query;
mod reads;
mod signed;

pub use audited::{audit, audit_answer, refused};
pub(super) use body::drain;
pub use body::{LinesBody, ManifestBody, MessageBody, SyncBody};
pub(super) use budget::overloaded;
pub use budget::{BodyBudget, BodyShare};
pub use control::{BulkControlRequest, ControlRequest, Controls, declared};
pub use door::peers_door;
pub(super) use holder::holder_of;
pub use holder::listener;
pub use operator::{AdminAccess, Operator, OperatorNode};
pub use path::{ConflictPath, HeadPath, InvitePath, NodePath, PeerPath, PeerUrl, PendingPath, TrustPath};
pub use precondition::{if_none_match, node_etag, precondition};
pub use query::{StrictQuery, page_limit};
pub use reads::DocumentReads;
pub use signed::{SignedBody, audit_join, audit_round, audit_trust, client_address, pusher, speaker, writable};
