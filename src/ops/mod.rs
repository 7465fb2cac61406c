//! One operation, many doors: what the HTTP routes, the commands and later transports have in common. No HTTP, no terminal.

mod audit;
mod compare;
mod conflicts;
mod context;
mod deletions;
mod discover;
mod edits;
mod events;
mod export;
mod federation;
mod feed;
mod former_writers;
mod health;
mod heartbeats;
mod import;
mod inbound;
mod interrupt;
mod key_life;
mod keys;
mod known_bytes;
mod known_key;
mod known_lists;
mod limits;
mod local;
mod local_access;
mod neighbours;
mod network;
mod nodes;
mod own_id;
mod pairing;
mod pending;
mod pull;
mod register;
mod remote;
mod requests;
mod seed_wire;
mod selection;
mod set_sum;
mod setup;
mod statement;
mod sync;
mod sync_request;
mod traced;
mod trust;
mod versions;

pub use audit::read_audit;
pub use compare::{ConflictLines, conflict_lines};
pub use conflicts::{
    ConflictDetail, ConflictPage, NodeState, OverruledKinds, dismiss_conflict, get_conflict, list_conflicts,
    restore_conflict,
};
pub use context::{Context, Identity};
pub use deletions::{
    MOST_WAITING, WaitingPage, confirm_deletions, refuse_deletions, waiting_deletions, waiting_senders,
};
pub use discover::{DiscoverFilter, DiscoverState, Discovered, Freshness, Peer, discover, envelope};
pub use edits::{EditError, EditTarget};
pub use events::{Event, Heard, Listening, listen};
pub use export::{ExportError, ExportForm, ExportReport, export, export_remote};
pub use federation::{
    AddWays, AddedPeer, FederationError, FederationInfo, INTERVAL_BOUNDS, ProbeFirst, Stand, add_peer, federation_info,
    find_instances, history, hub_instead_of, instance_name, is_running, is_stopped, peers, remove_peer, set_auto_sync,
    setting_of_peer, stand, start_federation, stop_federation, stopped, sync_peers,
};
pub use feed::{
    ANSWERS_HEADER, Answer, FRAME_BYTES, FeedError, FeedOptions, Filter, INDEX_HEADER, ItemId, JournalStand, Knowing,
    LineStream, POSITION_HEADER, PushAnswer, Received, changes, contents, head, head_of, here, lineage,
    most_node_bytes, paced, read_changes, receive, reconcile, unavailable, versions, wanted,
};
pub use former_writers::{FormerWritersError, former_writers};
pub use health::{Health, RegistryHealth, health};
pub use heartbeats::Heartbeats;
pub use import::{ImportError, ImportOptions, ImportReport, ImportTarget, Refusal, import};
pub use inbound::{InboundPeerView, PeerRoundStatus, inbound_peers, record_round_status};
pub use interrupt::Interrupt;
pub use key_life::{follow_own_statements, follow_statements, own_statements};
pub use keys::{generate_key, read_key};
pub use known_lists::KnownLists;
pub use limits::{KnownIds, NewIdError, charge_wrong_signature, spend};
pub use local::{LocalError, hash_node, parse_node};
pub use local_access::{LOCAL_TOKEN_FILE, LocalAccess, LocalService, SERVICE_URL_FILE, local_service};
pub use neighbours::{Look, LookError, MAX_NEIGHBOURS, Neighbour, connections, look, neighbours};
pub use network::member;
pub use nodes::{AcceptedNodes, Giver, accept_nodes, delete_node, get_node, givers, list_nodes, put_node};
pub use own_id::{claim_own_id, shared_ids};
pub use pairing::{
    EXPIRY_BOUNDS, InviteWish, Invited, JoinProof, Joined, Pairing, PairingError, invite, invites, join, revoke_invite,
    take_join,
};
pub use pending::{accept_pending, pending, refuse_pending};
pub use pull::{PullError, PullOptions, PullReport, Standing, pull};
pub use register::{RefusedManifest, RegisterError, Registration, register};
pub use remote::{RemoteError, RemotePeer, discover_remote, publish};
pub use requests::{REPEATABLE_FOR, RequestError, SignedRequest, Speaker, is_known_head, speaker, takes_from_anybody};
pub use seed_wire::{LivePeer, Part, PartStream, live_peers, nodes_since, push};
pub use selection::Selection;
pub use setup::{make_directory, write_token};
pub use statement::{Statement, build_manifest, is_envelope, sign_manifest, verify_manifest};
pub use sync::{Delta, NodeStream, sync, write_version};
pub use sync_request::{SyncError, SyncRequest};
pub use traced::trace_owner;
pub use trust::{
    Compared, Establish, Method as TrustMethod, Proof, Relationship, TrustOpError, answer_challenge, establish,
    relationships, revoke_peer, take_proof, take_voucher, trust_in, verify_peer, vouch_for,
};
pub use versions::{Fate, Offered, TakeError, TakeOptions, TakenVersions, Target, take_versions};

/// What operations take and give, for the doors: they need not know the rooms behind.
pub use crate::{
    federation::{
        client::{
            CertificateFault, Client, ClientError, LINES_HEADER, LINES_OF_VERSIONS, NoAnswer, PeerQuery, Probe,
            SIGN_FROM_HEADER,
        },
        control::ControlError,
        engine::{AddError, Lag, Probed, Synced},
        failure::{FailedAt, FailureClass, FailureContext, FailureKind},
        history::{KEPT as KEPT_ROUNDS, Past},
        inbound::InboundPeer,
        inbox::Pending,
        invites::{Invite, InviteState, InvitesError, Use as InviteUse},
        lan::{DEFAULT_TIMEOUT, Found, LanError, MAX_TIMEOUT, Search, Via},
        membership::Membership,
        operator::{Ask, OperatorClient, percent_encode},
        originals::{MAX_LISTED, PushError, Pushed, Skipped},
        peer_address,
        peers::{Added, Direction, PeerOptions, PeerState, PeersError},
        round::{Outcome, differences::Differences, unavailable::LeftOut},
        run::{RoundError, RoundReport},
        shared_ids::SharedId,
    },
    guard::{Allowance, Caller, Class, Limited, NetworkKey, OutOfReach, Payer, Reach},
    identity::{
        Change, Held, KeyChangeError, KeyError, KeyFileError, KeyLog, KeyPair, KeyPlace, MAX_REASON_CHARS,
        MIN_PASSPHRASE_CHARS, RecoveryWords, StatementKind, WORDS, WordsError,
    },
    lattice::offline::{Listing, OfflineDirectory, OfflineError, OfflineNode, WholeFile, write_file, write_new_file},
    lattice::{
        Ancestry, BrokenFile, Conflict, Dismissed, Entry, LatticeError, LatticeStatus, MAX_TYPE_BYTES, NodeDocument,
        NodeError, NodeFilter, NodePage, Precondition, StoredNode, Tombstone, Version, WaitingDeletion, WaitingSender,
        Written,
    },
    manifest::{Canonicalization, EnvelopeError, MAX_SEQ},
    registry::{FollowError, PeerCursor, RegistryError, StoreFault, StoreState},
    trust::{Entry as AuditEntry, KeyLine, Named, Step, TrustLevel, accept_command, file::FileError, invite::InviteId},
    types::Glob,
};
