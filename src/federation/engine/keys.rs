//! Whose key is whose: what we say of ours, and what we believe of a peer's.

use super::{
    ANNOUNCE_EVERY, EngineOptions, Known, Parties, PeerTask, RoundError, RoundReport, RunEnd, Shared,
    round_status::ReportedStatus, run,
};
use crate::{
    federation::{
        client::{Client, ClientError},
        originals::Given,
        remote::Remote,
        round::Positions,
    },
    identity::{Held, KeyLog},
    manifest::{Canonicalization, EnvelopeError, sign},
    registry::{FollowError, Start, follow_key},
    trust::{KeyEvents, KeyLine, StatementSource, TrustStore},
    types::{PeerId, PublicKey, Sha256Digest},
};
use bytes::Bytes;
use serde_json::json;
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How often a peer is asked what it says of its key; where that shows in its head, at once.
const LEARN_EVERY: Duration = Duration::from_secs(3600);

/// How long the same statement goes to one peer after the other. Each of them hears it once.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What we said of us.
#[derive(Debug)]
pub(super) struct Announcement {
    /// The key that signed it.
    public_key: PublicKey,
    at: Instant,
    envelope: String,
}

/// What was said between the two.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// When we last said who we are.
    pub(super) announced: Option<Instant>,
    /// The newest of our statements that it has.
    pub(super) told: Option<Sha256Digest>,
    /// When we last heard what it says of its key.
    learned: Option<Instant>,
    /// When it last showed which head of ours it knows.
    pub(super) shown: Option<Instant>,
    /// It said what waits there of our deletions, since this process began.
    pub(super) waits: bool,
    /// The status of our rounds that was reported to it.
    pub(super) reported: ReportedStatus,
    /// What it was given, where it is an original.
    pub(super) given: Given,
}

impl Shared {
    /// Tells a peer what is said of our key, and who we are, so that it takes what we sign.
    pub(super) async fn say_who_we_are(&self, client: &Client, held: &Held, said: &mut Said) {
        let tip = held.log.last().map(|last| last.digest());
        let due = said.announced.is_none_or(|at| at.elapsed() > ANNOUNCE_EVERY);
        if !due && said.told == tip {
            return;
        }
        // The statements first: under a new key we are somebody else until they are known. To whom we are unknown, they come second.
        let mut told = said.told == tip;
        if !told {
            told = self.tell(client, &held.log).await;
        }
        if !held.is_revoked() {
            match self.announce(client, held).await {
                Ok(()) => said.announced = Some(Instant::now()),
                // The round says what is wrong, if it is a fault.
                Err(error) => {
                    told = false;
                    tracing::debug!(%error, "the peer was not told who we are");
                }
            }
        }
        if !told && said.announced.is_some() {
            told = self.tell(client, &held.log).await;
        }
        said.told = if told { tip } else { None };
    }

    /// Did it take what is said of our key?
    async fn tell(&self, client: &Client, log: &KeyLog) -> bool {
        if log.is_empty() {
            return true;
        }
        match client.rotate(log.to_json()).await {
            Ok(_) => true,
            // Another version of this program, which knows no statements.
            Err(ClientError::Refused { status: 404, code, .. }) if code != "peer_not_found" => true,
            Err(error) => {
                tracing::debug!(%error, "the peer did not take what is said of our key");
                false
            }
        }
    }

    async fn announce(&self, client: &Client, held: &Held) -> Result<(), ClientError> {
        let envelope = self.announcement(held).map_err(|error| client.wrong(&error.to_string()))?;
        client.publish(envelope).await.map(drop)
    }

    /// Who we are, signed: for all peers, so that many of them cost no more signatures than one.
    fn announcement(&self, held: &Held) -> Result<String, EnvelopeError> {
        let mut last = self.announcement.lock().unwrap_or_else(PoisonError::into_inner);
        let (public_key, now) = (held.key.public_key(), Instant::now());
        let is_it = |it: &&Announcement| it.public_key == public_key && now.duration_since(it.at) < SAY_AGAIN;
        if let Some(same) = last.as_ref().filter(is_it) {
            return Ok(same.envelope.clone());
        }
        let envelope = self.sign_announcement(held)?;
        *last = Some(Announcement { public_key, at: now, envelope: envelope.clone() });
        Ok(envelope)
    }

    fn sign_announcement(&self, held: &Held) -> Result<String, EnvelopeError> {
        let text = Bytes::from(self.manifest_fields().to_string());
        sign(text, Canonicalization::Dsse, &self.options.limits, held.key.public_key(), |bytes| held.key.sign(bytes))
    }

    /// What our manifest states besides the nodes.
    pub(super) fn manifest_fields(&self) -> serde_json::Value {
        let EngineOptions { node_id, instance_type, address, clock, .. } = &self.options;
        let now = clock.now().seconds();
        // Signed at every announcement, so that what somebody else repeats of it ends.
        let mut manifest = json!({
            "node_id": node_id.as_str(), "instance_type": instance_type, "version": env!("CARGO_PKG_VERSION"),
            "last_updated": now, "issued_at": now,
        });
        if let (Some(address), Some(fields)) = (address, manifest.as_object_mut()) {
            fields.insert("address".to_owned(), json!(address));
        }
        manifest
    }

    /// One round, with the key that the peer's own statements say it has.
    pub(super) async fn run_with_keys(
        &self,
        peer: &PeerTask,
        parties: &Parties<'_>,
        known: Known,
        held: &Held,
        said: &mut Said,
    ) -> RunEnd {
        let failed = |error| RunEnd { report: RoundReport::default(), peer: None, error: Some(error) };
        if held.is_revoked() {
            return failed(RoundError::OwnKeyRevoked);
        }
        let note = |positions: &Positions| self.note_reached(&peer.url, positions);
        // The recovery key is pinned with the first key, before anybody can have stolen that.
        let due = known.public_key.is_none() || said.learned.is_none_or(|at| at.elapsed() > LEARN_EVERY);
        let checked = if due { self.ask_for_key(peer, known, said).await } else { self.look_up_key(peer, known).await };
        let known = match checked {
            Ok(known) => known,
            Err(error) => return failed(error),
        };
        let end = run(parties, known.clone(), note).await;
        let another = match &end.error {
            Some(RoundError::OtherKey { .. }) => true,
            Some(RoundError::Client(ClientError::Refused { code, .. })) => code == "peer_revoked",
            _ => false,
        };
        if !another || due {
            return end;
        }
        match self.ask_for_key(peer, known, said).await {
            Ok(known) => run(parties, known, note).await,
            Err(error) => RunEnd { error: Some(error), ..end },
        }
    }

    /// With the key that is known here by now: its statements may have come to us.
    async fn look_up_key(&self, peer: &PeerTask, known: Known) -> Result<Known, RoundError> {
        let pinned = known.public_key.as_deref().and_then(|key| PublicKey::parse(key).ok());
        let id = known.node_id.as_deref().and_then(|id| PeerId::parse(id).ok());
        let Some((pinned, id)) = pinned.zip(id) else { return Ok(known) };
        match self.line_of(&id, Some(pinned)).await? {
            Some(line) if line.revoked => Err(RoundError::Revoked),
            Some(line) if line.is_retired(pinned) => Ok(self.with_key(peer, known, line.public_key)),
            _ => Ok(known),
        }
    }

    /// Remembers, durably, that the peer has this key now.
    fn with_key(&self, peer: &PeerTask, known: Known, key: PublicKey) -> Known {
        self.update(&peer.url, |state| state.public_key = Some(key.to_base64()));
        Known { public_key: Some(key.to_base64()), ..known }
    }

    /// What is known of a peer, with the key that it and its own statements say it has now.
    async fn ask_for_key(&self, peer: &PeerTask, known: Known, said: &mut Said) -> Result<Known, RoundError> {
        let head = match peer.client.head(&self.options.limits).await {
            Ok(head) => Some((head.get().node_id.clone(), head.public_key())),
            // It has no key that it could sign with; its statements say why.
            Err(ClientError::Refused { code, .. }) if code == "peer_revoked" => None,
            Err(error) => return Err(error.into()),
        };
        let pinned = known.public_key.as_deref().and_then(|key| PublicKey::parse(key).ok());
        let id = known.node_id.as_deref().and_then(|id| PeerId::parse(id).ok());
        let Some(id) = id.or_else(|| head.as_ref().map(|(id, _)| id.clone())) else {
            return Err(RoundError::Revoked);
        };
        if id == self.options.node_id {
            // Whoever says that he is us; the round says so. Nothing of what he says binds our id.
            return Ok(known);
        }
        let same_id = head.as_ref().is_none_or(|(found, _)| *found == id);
        let Some(before) = pinned.or(head.as_ref().map(|(_, key)| *key)).filter(|_| same_id) else {
            // Another instance than before: the round says so.
            return Ok(known);
        };
        let found = head.map(|(_, key)| key);
        let start = Start { first: Some(before), pinned };
        let line = match self.learn(&peer.client, &id, start).await? {
            Some(line) => Some(line),
            None => self.line_of(&id, pinned).await?,
        };
        said.learned = Some(Instant::now());
        match (line, found) {
            (Some(line), _) if line.revoked => Err(RoundError::Revoked),
            // A stolen key that was replaced, also at an address where nobody was met before.
            (Some(line), Some(key)) if !line.succeeds(key, before) => {
                Err(RoundError::OtherKey { peer: id, found: key })
            }
            (Some(_), Some(key)) if pinned.is_some_and(|pinned| pinned != key) => Ok(self.with_key(peer, known, key)),
            // The round says what it thinks of what it meets, which must be whom we judged here: at first contact nothing else holds
            // the other side to one face.
            (_, Some(key)) => {
                let (id, key) = (id.to_string(), key.to_base64());
                Ok(Known { node_id: Some(id), public_key: Some(known.public_key.unwrap_or(key)), ..known })
            }
            _ => Ok(known),
        }
    }

    /// What the registry has of a peer's key, as far as it leads from the one that is pinned.
    async fn line_of(&self, id: &PeerId, pinned: Option<PublicKey>) -> Result<Option<KeyLine>, RoundError> {
        let EngineOptions { registry, clock, .. } = &self.options;
        let Some(bound) = registry.bound(id).await.map_err(unknown)? else { return Ok(None) };
        match pinned {
            Some(known) => registry.line_from(id, &bound, known, clock.latest()).await.map_err(unknown),
            None => Ok(bound.line),
        }
    }

    /// Follows what a peer says of its key, from the one that is known. `None`: it says nothing that counts.
    async fn learn(&self, client: &Client, id: &PeerId, start: Start) -> Result<Option<KeyLine>, RoundError> {
        let log = match client.identity().await {
            Ok(log) if log.is_empty() => return Ok(None),
            Ok(log) => log,
            Err(ClientError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let EngineOptions { registry, trust, clock, .. } = &self.options;
        let events: Arc<dyn KeyEvents> = Arc::<TrustStore>::clone(trust);
        let source = StatementSource::Other(None);
        match follow_key(&**registry, events, id, start, log, source, clock.now()).await {
            Ok(line) => Ok(Some(line)),
            Err(FollowError::Registry(error)) => Err(unknown(error)),
            Err(error) => {
                tracing::warn!(peer.id = id.as_str(), %error, "what a peer says of its key does not count");
                Ok(None)
            }
        }
    }
}

fn unknown(error: crate::registry::RegistryError) -> RoundError {
    RoundError::Keys(error.to_string())
}
