//! Where a request comes from and what its client called us, also through proxies. Headers say so only for a peer that is a proxy
//! of ours: anybody can write them (actix's own `connection_info` believes everybody, and is switched off in `clippy.toml`).

mod direct;
mod forwarded;

use crate::{
    guard::Caller,
    settings::ProxyHeaders,
    types::{BasePath, ProxyNetworks},
};
use actix_web::{
    HttpMessage,
    dev::RequestHead,
    http::{
        header::{HOST, HeaderMap, HeaderName, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO},
        uri::Authority,
    },
};
pub use direct::{indirect, is_forwarded};
use forwarded::Hop;
use std::{net::IpAddr, rc::Rc, str::FromStr, time::Duration};

static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// What stands between the service and its clients.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Who is believed when he says for whom he asks.
    pub proxies: ProxyNetworks,
    /// Which headers he says it with.
    pub headers: ProxyHeaders,
    /// The prefix under which requests come in.
    pub base_path: BasePath,
    /// Whether our own port speaks TLS.
    pub tls: bool,
    /// HSTS max-age.
    pub hsts: Option<Duration>,
}

/// How the client speaks to whoever is the first on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// As a URL writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }
}

/// A request's client, and what it called us. In the extensions of every request, as an `Rc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOrigin {
    /// The client's address: the farthest hop that we have the word of a proxy of ours for. `None` where the connection has none.
    pub client: Option<IpAddr>,
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// Host and port that the client used, where it named a usable one.
    pub host: Option<String>,
    /// What the client sees before our paths.
    pub prefix: BasePath,
}

impl RequestOrigin {
    /// Of the request with this head.
    #[must_use]
    pub fn of(head: &RequestHead, edge: &Edge) -> Self {
        let peer = head.peer_addr.map(|peer| peer.ip().to_canonical());
        let named = head.headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(host);
        let mut origin = Self {
            client: peer,
            scheme: if edge.tls { Scheme::Https } else { Scheme::Http },
            host: named.or_else(|| head.uri.authority().and_then(|authority| host(authority.as_str()))),
            prefix: edge.base_path.clone(),
        };
        if let Some(peer) = peer.filter(|peer| edge.proxies.contains(*peer)) {
            origin.believe(peer, &head.headers, edge);
        }
        origin
    }

    /// The value of `Strict-Transport-Security` for a client that came over HTTPS (RFC 6797). Not for this machine's own name, under which
    /// browsers find every program of a developer.
    #[must_use]
    pub fn strict_transport(&self, edge: &Edge) -> Option<String> {
        let age = edge.hsts.filter(|_| self.scheme == Scheme::Https)?;
        let name = self.host.as_deref().and_then(|host| host.split(':').next()).unwrap_or_default();
        (!name.eq_ignore_ascii_case("localhost")).then(|| format!("max-age={}", age.as_secs()))
    }

    /// Takes the word of `peer`, which is a proxy of ours.
    fn believe(&mut self, peer: IpAddr, headers: &HeaderMap, edge: &Edge) {
        let said = match edge.headers {
            ProxyHeaders::XForwarded => x_forwarded(peer, headers, &edge.proxies),
            ProxyHeaders::Forwarded => {
                Said::by(peer, forwarded::hops(lines(headers, &HeaderName::from_static("forwarded"))), &edge.proxies)
            }
        };
        self.client = Some(said.client);
        self.scheme = said.scheme.unwrap_or(self.scheme);
        self.host = said.host.or(self.host.take());
        let outer = prefix(headers).and_then(|outer| outer.with(&edge.base_path));
        self.prefix = outer.unwrap_or_else(|| edge.base_path.clone());
    }
}

/// On whose account a request goes, as `api/limit.rs` noted it.
#[must_use]
pub fn caller(request: &impl HttpMessage) -> Caller {
    request.extensions().get::<Caller>().copied().unwrap_or_else(Caller::local)
}

/// What the client sees before our paths.
pub(super) fn prefix_seen_by(request: &impl HttpMessage) -> String {
    request.extensions().get::<Rc<RequestOrigin>>().map(|origin| origin.prefix.as_str().to_owned()).unwrap_or_default()
}

/// What the body of a request of our network must hash to, as its tag says; in the extensions of such requests.
#[derive(Debug, Clone)]
pub struct NetworkDigest(pub String);

/// What proxies of ours say.
struct Said {
    client: IpAddr,
    scheme: Option<Scheme>,
    host: Option<String>,
    /// How many hops have been told by proxies of ours.
    told: usize,
}

impl Said {
    /// Goes from `peer` away from us while each hop is a proxy of ours: the next one has that proxy's word, and nobody's beyond.
    fn by<'a>(peer: IpAddr, hops: impl IntoIterator<Item = Hop<'a>>, proxies: &ProxyNetworks) -> Self {
        let mut said = Self { client: peer, scheme: None, host: None, told: 0 };
        for hop in hops {
            said.told = said.told.saturating_add(1);
            said.scheme = hop.scheme.as_deref().and_then(Scheme::parse).or(said.scheme);
            said.host = hop.host.as_deref().and_then(host).or(said.host);
            let Some(address) = hop.address else { break };
            said.client = address;
            if !proxies.contains(address) {
                break;
            }
        }
        said
    }
}

fn x_forwarded(peer: IpAddr, headers: &HeaderMap, proxies: &ProxyNetworks) -> Said {
    let hops = items(headers, &X_FORWARDED_FOR).map(|item| Hop { address: forwarded::address(item), ..Hop::default() });
    let mut said = Said::by(peer, hops, proxies);
    // A proxy appends to all three, or sets these two anew: either way no more of them than hops have our proxies' word.
    let told = said.told.max(1);
    said.scheme = items(headers, &X_FORWARDED_PROTO).take(told).filter_map(Scheme::parse).last();
    said.host = items(headers, &X_FORWARDED_HOST).take(told).filter_map(host).last();
    said
}

/// A header's lines, the last first. One that is no text is there, but says nothing.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines: Vec<&str> = headers.get_all(name).map(|line| line.to_str().unwrap_or("?")).collect();
    lines.into_iter().rev()
}

/// The items of a header's lists, the last first, without the empty ones (RFC 9110 section 5.6.1.2).
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    lines(headers, name).flat_map(|line| line.rsplit(',')).map(str::trim).filter(|item| !item.is_empty())
}

/// Every proxy that strips a part of the path adds that part behind those of the proxies before it.
fn prefix(headers: &HeaderMap) -> Option<BasePath> {
    let mut parts: Vec<&str> = items(headers, &X_FORWARDED_PREFIX).collect();
    parts.reverse();
    let whole: String = parts.into_iter().map(|part| part.strip_suffix('/').unwrap_or(part)).collect();
    BasePath::parse(&whole).ok().filter(|prefix| !prefix.as_str().is_empty())
}

/// Host and port, where they are nothing else.
fn host(text: &str) -> Option<String> {
    let usable = Authority::from_str(text).is_ok_and(|authority| !authority.as_str().contains('@'));
    usable.then(|| text.to_owned())
}

#[cfg(test)]
#[path = "origin/tests.rs"]
mod tests;
