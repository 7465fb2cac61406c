//! What the engine asks others with.

use super::{Engine, EngineOptions, Shared};
use crate::{
    federation::{
        client::{Client, ClientError},
        membership::Membership,
        watch::Watch,
    },
    guard::Reach,
    types::{PublicKey, SharedClock},
};

/// Who names an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The operator, or his settings.
    Operator,
    /// Whoever it was.
    Anybody,
}

impl Engine {
    /// The key that we sign with now.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.shared.options.key.public_key()
    }

    /// A client for somebody who is no peer yet and whom the operator names, with these authorities instead of those of all peers.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn client_with(&self, tls: Option<rustls::ClientConfig>, url: &str) -> Result<Client, ClientError> {
        let client = match tls {
            None => self.shared.client(url, By::Operator)?,
            Some(tls) => {
                let may = self.shared.may_be_inner(url, By::Operator);
                let reach = if may { Reach::of_operator() } else { Reach::of_others() };
                Client::connecting(url, &self.shared.options.limits, Some(tls), reach)?
            }
        };
        Ok(client.with_membership(self.shared.membership()))
    }
}

impl Shared {
    /// May an address be within this machine's network? What is a peer was named by the operator.
    fn may_be_inner(&self, url: &str, by: By) -> bool {
        let is_peer = || self.options.peers.get(url.trim_end_matches('/')).is_some();
        self.options.inner_peers.allow(url, || by == By::Operator || is_peer())
    }

    pub(super) fn membership(&self) -> Option<Membership> {
        let EngineOptions { clock, network, .. } = &self.options;
        network.clone().map(|key| Membership::new(key, SharedClock::clone(clock)))
    }

    /// All peers share what one client costs: the authorities' certificates, above all. Those who may be within share one, those who
    /// may not another.
    pub(super) fn client(&self, url: &str, by: By) -> Result<Client, ClientError> {
        let EngineOptions { limits, tls, peer_timeout, .. } = &self.options;
        let (place, reach) = match self.may_be_inner(url, by) {
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
