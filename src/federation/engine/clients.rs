//! What the engine asks others with.

use super::{Engine, EngineOptions, Shared};
use crate::{
    federation::{
        client::{Client, ClientError},
        membership::Membership,
        peer_address,
        watch::Watch,
    },
    guard::{OutOfReach, PlainHttp, Reach},
    types::{PublicKey, SharedClock},
};
use std::time::Duration;

/// How long the host name of a peer is looked up before the peer is added.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Who names an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The operator, or his settings.
    Operator,
    /// An instance of another machine that was invited.
    Guest,
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
                let reach = self.shared.reach(url, By::Operator);
                Client::connecting(url, &self.shared.options.limits, Some(tls), reach)?
            }
        };
        Ok(client.with_membership(self.shared.membership()))
    }

    /// Looks up the host name of an address, as each round does.
    ///
    /// # Errors
    /// [`OutOfReach::PlainHttp`]: it leads to an address that is not asked over plain HTTP or, where `federation.plain_http` is `always`, to
    /// one outside loopback and private networks. A name that cannot be looked up within two seconds is no error: the rounds report it.
    pub async fn check_plain_http(&self, url: &str) -> Result<(), OutOfReach> {
        let policy = match self.shared.options.plain_http {
            PlainHttp::Always => PlainHttp::Private,
            policy => policy,
        };
        let Some(host) = reqwest::Url::parse(url).ok().filter(|url| url.scheme() == "http") else { return Ok(()) };
        let Some(host) = host.host_str() else { return Ok(()) };
        let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
        let Ok(Ok(found)) = lookup else { return Ok(()) };
        let found = found.map(|address| address.ip()).collect();
        match Reach::of_operator().over_plain_http(policy).of_name(host, found) {
            Err(error @ OutOfReach::PlainHttp(..)) => Err(error),
            _ => Ok(()),
        }
    }

    /// The setting `federation.plain_http`.
    #[must_use]
    pub fn plain_http(&self) -> PlainHttp {
        self.shared.options.plain_http
    }

    /// A client for an address that an invited instance of another machine names: it does not reach this machine itself, however the
    /// address is written.
    ///
    /// # Errors
    /// [`ClientError::Address`].
    pub fn client_of_guest(&self, url: &str) -> Result<Client, ClientError> {
        Ok(self.shared.client(url, By::Guest)?.with_membership(self.shared.membership()))
    }
}

impl Shared {
    /// May an address be within this machine's network? What is a peer was named by the operator.
    fn may_be_inner(&self, url: &str, by: By) -> bool {
        let url = peer_address(url);
        let is_peer = || self.options.peers.get(&url).is_some();
        self.options.inner_peers.allow(&url, || by != By::Anybody || is_peer())
    }

    pub(super) fn membership(&self) -> Option<Membership> {
        let EngineOptions { clock, network, .. } = &self.options;
        network.clone().map(|key| Membership::new(key, SharedClock::clone(clock)))
    }

    /// Where the client for this address may connect to.
    fn reach(&self, url: &str, by: By) -> Reach {
        let reach = match (self.may_be_inner(url, by), by) {
            (false, _) => Reach::of_others(),
            (true, By::Guest) => Reach::of_guest(),
            (true, By::Operator | By::Anybody) => Reach::of_operator(),
        };
        if is_plain(url) { reach.over_plain_http(self.options.plain_http) } else { reach }
    }

    /// All peers share what one client costs: the authorities' certificates, above all. Those who may be within share one, those who
    /// may not another, and of both those that are asked without TLS.
    pub(super) fn client(&self, url: &str, by: By) -> Result<Client, ClientError> {
        let EngineOptions { limits, tls, peer_timeout, .. } = &self.options;
        let place = match (self.may_be_inner(url, by), is_plain(url)) {
            (true, false) if by == By::Guest => &self.guest_client,
            (true, true) if by == By::Guest => &self.plain_guest_client,
            (true, false) => &self.client,
            (false, false) => &self.outer_client,
            (true, true) => &self.plain_client,
            (false, true) => &self.plain_outer_client,
        };
        if let Some(first) = place.get() {
            return first.at(url);
        }
        let first = Client::connecting(url, limits, tls.clone(), self.reach(url, by))?.with_patience(*peer_timeout);
        let first = first.watched(Watch::new(self.options.metrics.clone()));
        place.get_or_init(|| first).at(url)
    }
}

/// Is it an address without TLS? One that cannot be read is refused where the client is made.
fn is_plain(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "http")
}
