//! What operations work on.

use super::{heartbeats::Heartbeats, known_lists::KnownLists, limits::KnownIds, pairing::Pairing};
use crate::{
    federation::{
        deletions::DeletionGuard, engine::Engine, inbound::InboundPeers, lan::Lan, left_out::NamedVersions,
        rate::Rates, reconcile::Sets, shared_ids::SharedIds, twins::Twins,
    },
    guard::{Limiter, NetworkKey, Payer},
    identity::Keyring,
    lattice::Lattice,
    registry::Registry,
    trust::{Nonces, TrustStore},
    types::{Limits, PeerId, PublicKey, SharedClock},
};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// Who this instance is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id.
    pub node_id: PeerId,
    /// `local`, `cloud` or `pi`.
    pub instance_type: &'static str,
    /// Its public key, where it has one.
    pub public_key: Option<PublicKey>,
    /// `p2p`, `hub` or `hybrid`.
    pub mode: &'static str,
    /// The port that it listens on.
    pub port: u16,
    /// Where others reach it, if they can.
    pub address: Option<String>,
}

impl Context {
    /// Our public key, as it is now.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.signer.as_ref().map(|signer| signer.public_key()).or(self.identity.public_key)
    }
}

/// The rooms behind the operations. Shared by all requests of one application.
#[derive(Debug)]
pub struct Context {
    /// Who this instance is.
    pub identity: Identity,
    /// Who is alive.
    pub registry: Arc<dyn Registry>,
    /// The nodes.
    pub lattice: Arc<dyn Lattice>,
    /// Their versions, to be reconciled with those of other instances.
    pub sets: Arc<Sets>,
    /// What other instances delete here.
    pub deletions: Arc<DeletionGuard>,
    /// Where the journals of instances stood that sent changes here.
    pub twins: Twins,
    /// Ids that two machines use.
    pub shared_ids: Arc<SharedIds>,
    /// Versions of other instances that were left out for their size.
    pub left_out: NamedVersions,
    /// What is thought of each key.
    pub trust: Arc<TrustStore>,
    /// Bounds on input.
    pub limits: Limits,
    /// The time.
    pub clock: SharedClock,
    /// What this instance signs with, where it has a key.
    pub signer: Option<Arc<Keyring>>,
    /// What exchanges with peers; `None` without a key.
    pub engine: Option<Arc<Engine>>,
    /// What finds other instances; `None` without a key.
    pub lan: Option<Arc<Lan>>,
    /// Told when the service stops: answers that have no end of their own end then.
    pub closing: CancellationToken,
    /// How many bytes a second may go between instances.
    pub rates: Rates,
    /// Nothing is written here but what peers have.
    pub read_only: bool,
    /// What connections are made with where a certificate is to prove who a peer is.
    pub authorities: Option<rustls::ClientConfig>,
    /// The signed requests that were seen.
    pub nonces: Mutex<Nonces<Payer>>,
    /// What everybody may ask for.
    pub limiter: Limiter,
    /// Most ids of one key; 0: no bound.
    pub ids_per_key: u64,
    /// What members of our network show; `None`: there is no such key, and everybody may come.
    pub network: Option<NetworkKey>,
    /// Ids that are bound.
    pub known_ids: KnownIds,
    /// Envelopes that were accepted last.
    pub heartbeats: Heartbeats,
    /// Invites, and instances that ask to write.
    pub pairing: Pairing,
    /// Instances that connect to this one.
    pub inbound_peers: InboundPeers,
    /// What callers in step ask with.
    pub known_lists: KnownLists,
}
