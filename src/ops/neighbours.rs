//! Everybody that this instance knows, in one list: its peers and who registered here.

use super::Context;
use crate::{
    federation::{
        lan::{LanError, Search, Via},
        peers::PeerState,
    },
    registry::{PeerRecord, RegistryError},
    trust::{TrustLevel, freshness::is_expired},
    types::{PeerId, PublicKey, Timestamp},
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

/// The most that one answer shows.
pub const MAX_NEIGHBOURS: usize = 1000;
/// How long is looked for others.
const LOOK: Duration = Duration::from_secs(10);

/// How an instance stands to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It answers, or has registered.
    Connected,
    /// It was never reached, or is not any more.
    Disconnected,
    /// It does not say anything new any more: what it last said has expired, and is kept.
    Stale,
    /// It contradicted itself.
    Quarantined,
    /// Its key was revoked; what came from it stays.
    Revoked,
}

impl Standing {
    /// The word of the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Stale => "stale",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }
}

/// Another instance.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its id, where it is known.
    pub id: Option<String>,
    /// Where it answers, where it says so.
    pub address: Option<String>,
    /// How it stands to us.
    pub standing: Standing,
    /// What is thought of its key.
    pub level: TrustLevel,
    /// Its key.
    pub public_key: Option<PublicKey>,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
}

/// Why nobody was looked for.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The settings do not let it.
    #[error("{0}")]
    Off(&'static str),
    /// The search was not made.
    #[error(transparent)]
    Lan(#[from] LanError),
    /// The registry does not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// How to look for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// On this network.
    Broadcast,
    /// By names.
    Dns,
    /// The addresses that the operator gave.
    Manual,
}

/// Peers first, then who else is live here; at most `limit`.
///
/// # Errors
/// The registry does not answer.
pub async fn neighbours(context: &Context, limit: usize) -> Result<Vec<Neighbour>, RegistryError> {
    let peers = context.engine.as_ref().map(|engine| engine.peers()).unwrap_or_default();
    let mut found: Vec<Neighbour> = peers.iter().map(|state| of_peer(context, state)).collect();
    let by_id: BTreeMap<String, usize> =
        found.iter().enumerate().filter_map(|(at, it)| Some((it.id.clone()?, at))).collect();
    for record in context.registry.list(None, limit).await?.peers {
        let of_record = of_record(context, &record);
        match by_id.get(record.peer.as_str()).and_then(|at| found.get_mut(*at)) {
            Some(known) if known.public_key.is_none_or(|key| key == record.public_key) => {
                known.last_seen = known.last_seen.max(of_record.last_seen);
            }
            // The same id under another key is somebody else.
            _ => found.push(of_record),
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn standing(context: &Context, level: TrustLevel, key: Option<PublicKey>) -> Option<Standing> {
    if level == TrustLevel::Revoked {
        return Some(Standing::Revoked);
    }
    key.filter(|key| context.trust.is_quarantined(*key)).map(|_| Standing::Quarantined)
}

fn of_peer(context: &Context, state: &PeerState) -> Neighbour {
    let key = state.public_key.as_deref().and_then(|text| PublicKey::parse(text).ok());
    let id = state.node_id.as_deref().and_then(|text| PeerId::parse(text).ok());
    let who = id.as_ref().zip(key);
    let level = who.map_or(TrustLevel::Unknown, |(id, key)| context.trust.level(id, key));
    let frozen = || {
        who.is_some_and(|(id, key)| {
            let newest = context.trust.newest_head(id, key);
            let is_old = newest.is_some_and(|newest| is_expired(newest.expires, context.clock.now()));
            is_old || context.trust.is_frozen(id, key)
        })
    };
    let standing = standing(context, level, key).unwrap_or_else(|| match state.is_active() {
        true => Standing::Connected,
        false if frozen() => Standing::Stale,
        false => Standing::Disconnected,
    });
    Neighbour {
        id: state.node_id.clone(),
        address: Some(state.url.clone()),
        standing,
        level,
        public_key: key,
        last_seen: state.synced_at,
    }
}

fn of_record(context: &Context, record: &PeerRecord) -> Neighbour {
    let level = context.trust.level(&record.peer, record.public_key);
    let summary: Option<Value> = serde_json::from_slice(&record.summary).ok();
    let address = summary.as_ref().and_then(|it| it.get("address")).and_then(Value::as_str).map(str::to_owned);
    Neighbour {
        id: Some(record.peer.to_string()),
        address,
        standing: standing(context, level, Some(record.public_key)).unwrap_or(Standing::Connected),
        level,
        public_key: Some(record.public_key),
        last_seen: Some(record.last_seen),
    }
}

/// Looks for others. Who is found is a suggestion: no peer, and not trusted.
///
/// # Errors
/// [`LookError`].
pub async fn look(context: &Context, look: Look) -> Result<Vec<Neighbour>, LookError> {
    match look {
        Look::Manual => {
            let known = neighbours(context, MAX_NEIGHBOURS).await?;
            let peers = context.engine.as_ref().map(|engine| engine.peers()).unwrap_or_default();
            let given = |it: &Neighbour| peers.iter().any(|peer| Some(&peer.url) == it.address.as_ref());
            Ok(known.into_iter().filter(given).collect())
        }
        Look::Dns => Err(LookError::Off("no name is set to look for others by; use broadcast or manual")),
        Look::Broadcast => {
            let off = "looking on the network is off; turn it on with discovery.mdns or discovery.scan_subnets";
            let lan = context.lan.as_ref().filter(|lan| lan.is_on()).ok_or(LookError::Off(off))?;
            let found = lan.discover(Search { timeout: LOOK, ..Search::default() }).await?;
            Ok(found.into_iter().map(|found| suggested(context, found)).collect())
        }
    }
}

fn suggested(context: &Context, found: crate::federation::lan::Found) -> Neighbour {
    let key = found.public_key.as_deref().and_then(|text| PublicKey::parse(text).ok());
    let id = found.node_id.as_deref().and_then(|text| PeerId::parse(text).ok());
    let level = id.as_ref().zip(key).map_or(TrustLevel::Unknown, |(id, key)| context.trust.level(id, key));
    let seen = found.via != Via::Registry && key.is_some();
    let plain = if seen { Standing::Connected } else { Standing::Disconnected };
    Neighbour {
        id: found.node_id,
        address: Some(found.url),
        standing: standing(context, level, key).unwrap_or(plain),
        level,
        public_key: key,
        last_seen: seen.then(|| context.clock.now()),
    }
}

/// Instances that are connected, whoever connects, each counted once; and when a round last came to its end.
#[must_use]
pub fn connections(context: &Context) -> (usize, Option<Timestamp>) {
    let peers = context.engine.as_ref().map(|engine| engine.peers()).unwrap_or_default();
    let (connected, last) = context
        .inbound_peers
        .connected(context.clock.now(), |peer, key| context.trust.level(peer, key) != TrustLevel::Revoked);
    let answers = |id: &PeerId| peers.iter().any(|it| it.is_active() && it.node_id.as_deref() == Some(id.as_str()));
    let outbound = peers.iter().filter(|peer| peer.is_active()).count();
    let inbound = connected.iter().filter(|id| !answers(id)).count();
    (outbound.saturating_add(inbound), peers.iter().filter_map(|peer| peer.synced_at).max().max(last))
}
