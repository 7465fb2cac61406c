//! What strangers may have of the registry, in Redis: which keys count it, and which bounds the script is told.

use super::{Ask, Call, RedisRegistry, RegistryError, milliseconds};
use crate::{
    registry::{NoPlace, Share},
    trust::Admitted,
};

impl RedisRegistry {
    /// The keys of the script that registers.
    pub(super) fn register_keys(&self, admitted: &Admitted) -> Vec<String> {
        let manifest = admitted.manifest();
        let peer = manifest.get().peer();
        let mut keys = vec![self.keys.peer(peer), self.keys.pin(peer)];
        if !self.cluster {
            keys.extend([self.keys.by_expiry().to_owned(), self.keys.stranger_bytes(), self.keys.strangers()]);
            keys.push(self.keys.places_of_key(manifest.public_key()));
            keys.extend(admitted.standing().address.as_deref().map(|address| self.keys.places_from(address)));
        }
        keys
    }

    /// Tells the script what is bounded.
    pub(super) fn put_limits(&self, call: &mut Call<'_>, admitted: &Admitted) {
        let (limits, standing) = (self.limits, admitted.standing());
        call.arg(milliseconds(self.unused_ttl)).arg(admitted.manifest().received().len()).arg(limits.stranger_bytes);
        let strangers = limits.of_strangers(standing.known_peers).to_string();
        call.arg(if standing.known { String::new() } else { strangers });
        call.arg(limits.of_one_key()).arg(limits.from_one_address());
    }

    /// What the script answered, as an error.
    pub(super) fn no_place(&self, share: &str, admitted: &Admitted) -> NoPlace {
        match share {
            "key" => NoPlace::Entries { share: Share::Key, limit: self.limits.of_one_key() },
            "address" => NoPlace::Entries { share: Share::Address, limit: self.limits.from_one_address() },
            _ => {
                let limit = self.limits.of_strangers(admitted.standing().known_peers);
                NoPlace::Entries { share: Share::Strangers, limit }
            }
        }
    }

    async fn live_in(&self, indexes: &[String]) -> Result<u64, RegistryError> {
        let mut live = 0_u64;
        for index in indexes {
            live = live.saturating_add(self.count_in(index).await?);
        }
        Ok(live)
    }

    /// On a Cluster, where the script cannot count: what it would answer where there is no room.
    pub(super) async fn no_room_on_cluster(&self, admitted: &Admitted) -> Result<Option<Vec<String>>, RegistryError> {
        let (limits, standing) = (self.limits, admitted.standing());
        if !standing.known {
            let of_key = self.keys.places_of_key(admitted.manifest().public_key());
            let from = standing.address.iter().map(|address| self.keys.places_from(address)).collect();
            for (share, indexes, limit) in [
                ("key", vec![of_key], limits.of_one_key()),
                ("address", from, limits.from_one_address()),
                ("strangers", self.keys.shares_of_strangers(), limits.of_strangers(standing.known_peers)),
            ] {
                if self.live_in(&indexes).await? >= limit {
                    return Ok(Some(vec!["no_place".to_owned(), share.to_owned()]));
                }
            }
        }
        let is_full = self.count().await? >= limits.max_peers;
        Ok(is_full.then(|| vec!["full".to_owned()]))
    }

    /// On a Cluster: the indexes that a registration goes to.
    pub(super) fn indexes_on_cluster(&self, admitted: &Admitted) -> Vec<String> {
        let (manifest, standing) = (admitted.manifest(), admitted.standing());
        let peer = manifest.get().peer();
        let mut indexes = vec![self.keys.share_of(peer)];
        if !standing.known {
            indexes.extend([self.keys.share_of_stranger(peer), self.keys.places_of_key(manifest.public_key())]);
            indexes.extend(standing.address.as_deref().map(|address| self.keys.places_from(address)));
        }
        indexes
    }

    async fn count_in(&self, index: &str) -> Result<u64, RegistryError> {
        let call = self.list_call(index, "", None, 0);
        super::page::total(self.link.ask(Ask::Read(&call)).await?)
    }
}
