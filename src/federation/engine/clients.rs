//! What the engine asks others with.

use super::{Engine, EngineOptions, Shared};
use crate::{
    federation::{
        client::{Client, ClientError},
        membership::Membership,
        watch::Watch,
    },
    guard::Reach,
    types::SharedClock,
};

impl Engine {
    /// A client for somebody who is no peer yet, with these authorities instead of those of all peers.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn client_with(&self, tls: Option<rustls::ClientConfig>, url: &str) -> Result<Client, ClientError> {
        let client = match tls {
            None => self.shared.client(url)?,
            Some(tls) => {
                let may = self.shared.may_be_inner(url);
                let reach = if may { Reach::of_operator() } else { Reach::of_others() };
                Client::connecting(url, &self.shared.options.limits, Some(tls), reach)?
            }
        };
        Ok(client.with_membership(self.shared.membership()))
    }
}

impl Shared {
    /// May an address be within this machine's network?
    fn may_be_inner(&self, url: &str) -> bool {
        let named = self.options.inner_peers.as_ref();
        named.is_none_or(|named| named.iter().any(|named| named.trim_end_matches('/') == url.trim_end_matches('/')))
    }

    pub(super) fn membership(&self) -> Option<Membership> {
        let EngineOptions { clock, network, .. } = &self.options;
        network.clone().map(|key| Membership::new(key, SharedClock::clone(clock)))
    }

    /// All peers share what one client costs: the authorities' certificates, above all. Those who may be within share one, those who
    /// may not another.
    pub(super) fn client(&self, url: &str) -> Result<Client, ClientError> {
        let EngineOptions { limits, tls, peer_timeout, .. } = &self.options;
        let (place, reach) = match self.may_be_inner(url) {
            true => (&self.client, Reach::of_operator()),
            false => (&self.outer_client, Reach::of_others()),
        };
        if let Some(first) = place.get() {
            return first.at(url);
        }
        let first = Client::connecting(url, limits, tls.clone(), reach)?.with_patience(*peer_timeout);
        let first = first.watched(Watch::new(self.options.metrics.clone()));
        place.get_or_init(|| first).at(url)
    }
}
