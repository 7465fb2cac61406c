//! Statements to register.

use crate::{
    manifest::{Manifest, verified_for_test},
    registry::{NoPlace, Registered, Registry, RegistryError, Share},
    trust::{Admitted, Standing, Step, TrustMode, TrustPolicy, VersionError},
    types::{PeerId, PublicKey, Timestamp},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// One statement, as a test words it.
#[derive(Debug, Clone)]
pub(in crate::registry) struct Statement {
    pub(in crate::registry) peer: PeerId,
    pub(in crate::registry) key: u8,
    pub(in crate::registry) last_updated: Option<Timestamp>,
    pub(in crate::registry) seq: Option<u64>,
    pub(in crate::registry) issued_at: Option<Timestamp>,
    pub(in crate::registry) content: String,
    pub(in crate::registry) instance_type: Option<String>,
    pub(in crate::registry) fields: Vec<(String, String)>,
    pub(in crate::registry) envelope: Option<Bytes>,
    pub(in crate::registry) mode: TrustMode,
    pub(in crate::registry) standing: Standing,
}

impl Statement {
    /// Of key 1, without version, in mode `tofu`, of a known peer.
    pub(in crate::registry) fn of(peer: &str) -> Self {
        Self {
            peer: PeerId::parse(peer).unwrap(),
            key: 1,
            last_updated: None,
            seq: None,
            issued_at: None,
            content: "first".to_owned(),
            instance_type: Some("laptop".to_owned()),
            fields: vec![("node_id".to_owned(), peer.to_owned()), ("instance_type".to_owned(), "laptop".to_owned())],
            envelope: None,
            mode: TrustMode::Tofu,
            standing: Standing { known: true, address: None, known_peers: 0 },
        }
    }

    /// Of a peer that nobody decided on, from this address.
    pub(in crate::registry) fn stranger(mut self, address: Option<&str>) -> Self {
        self.standing = Standing { known: false, address: address.map(Box::from), known_peers: 0 };
        self
    }

    pub(in crate::registry) fn key(mut self, key: u8) -> Self {
        self.key = key;
        self
    }

    pub(in crate::registry) fn seq(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self.content = format!("{} seq {seq}", self.content);
        self
    }

    pub(in crate::registry) fn updated_micros(mut self, micros: i64) -> Self {
        self.last_updated = Some(Timestamp::from_micros(micros));
        self.content = format!("{} at {micros}", self.content);
        self
    }

    pub(in crate::registry) fn updated(self, seconds: i64) -> Self {
        self.updated_micros(seconds * 1_000_000)
    }

    /// Signed at this time; what it says stays the same.
    pub(in crate::registry) fn issued(mut self, seconds: i64) -> Self {
        self.issued_at = Some(Timestamp::from_seconds(seconds));
        self
    }

    pub(in crate::registry) fn content(mut self, content: &str) -> Self {
        content.clone_into(&mut self.content);
        self
    }

    pub(in crate::registry) fn open(mut self) -> Self {
        self.mode = TrustMode::Open;
        self
    }

    pub(in crate::registry) fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes([self.key; 32])
    }

    /// What `list` must show.
    pub(in crate::registry) fn summary(&self) -> String {
        format!("{{\"node_id\": \"…\", \"content\": \"{}\"}}", self.content)
    }

    /// The envelope's bytes.
    pub(in crate::registry) fn envelope(&self) -> Bytes {
        let issued = self.issued_at.map_or_else(String::new, |at| format!(" issued {}", at.seconds()));
        let made = || Bytes::from(format!("envelope of {} by {}: {}{issued}", self.peer, self.key, self.content));
        self.envelope.clone().unwrap_or_else(made)
    }

    pub(in crate::registry) fn admitted(&self) -> Admitted {
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let manifest = Manifest::for_test(
            self.peer.clone(),
            self.instance_type.as_deref(),
            self.last_updated,
            self.seq,
            &fields,
            &self.summary(),
        );
        let manifest = manifest.issued_for_test(self.issued_at);
        let digest = Sha256::digest(format!("{} {}", self.peer, self.content).as_bytes()).into();
        let verified = verified_for_test(manifest, self.public_key(), digest, self.envelope());
        let far_ahead = Timestamp::from_micros(i64::MAX);
        let admitted = TrustPolicy::new(self.mode, HashMap::new()).admit(verified, far_ahead).unwrap();
        admitted.with_standing(self.standing.clone())
    }

    pub(in crate::registry) async fn register(&self, registry: &dyn Registry) -> Result<Registered, RegistryError> {
        registry.register(&self.admitted()).await
    }

    /// Registers and expects `step`.
    pub(in crate::registry) async fn expect(&self, registry: &dyn Registry, step: Step) {
        match self.register(registry).await {
            Ok(registered) => {
                assert_eq!(registered.step, step, "{self:?}");
                assert_eq!(registered.expires_in, super::TTL);
            }
            Err(error) => panic!("{self:?}: {error}"),
        }
    }

    /// Registers and expects this refusal.
    pub(in crate::registry) async fn expect_refused(&self, registry: &dyn Registry, refusal: VersionError) {
        match self.register(registry).await {
            Err(RegistryError::Refused(reason)) => assert_eq!(reason, refusal, "{self:?}"),
            other => panic!("{self:?}: {other:?}"),
        }
    }
}

pub(in crate::registry) fn is_full(outcome: &Result<Registered, RegistryError>) -> bool {
    matches!(outcome, Err(RegistryError::Full { limit: super::MAX_PEERS }))
}

/// Whose share was used up.
pub(in crate::registry) fn no_place(outcome: &Result<Registered, RegistryError>) -> Option<Share> {
    match outcome {
        Err(RegistryError::NoPlace(NoPlace::Entries { share, .. })) => Some(*share),
        _ => None,
    }
}

pub(in crate::registry) fn is_key_mismatch(outcome: &Result<Registered, RegistryError>) -> bool {
    matches!(outcome, Err(RegistryError::Refused(VersionError::KeyMismatch)))
}
