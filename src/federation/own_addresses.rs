//! The addresses at which other machines may reach this instance, from its interfaces. Whether they do is not checked here.

use crate::types::BasePath;
use std::net::{IpAddr, SocketAddr};

/// Where this instance listens, and how.
#[derive(Debug, Clone)]
pub struct Listens {
    /// The address of the socket.
    pub at: SocketAddr,
    /// It speaks TLS.
    pub tls: bool,
    /// The prefix of its routes.
    pub base_path: BasePath,
}

/// Addresses of this instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAddresses {
    /// As URLs, IPv4 first; at most eight.
    pub urls: Vec<String>,
    /// There are only loopback addresses: nothing outside this machine reaches them.
    pub loopback_only: bool,
}

/// The most addresses.
const MOST: usize = 8;

impl Listens {
    /// The addresses, from the interfaces of this machine. An error of the machine is no error here: then only the socket's own counts.
    #[must_use]
    pub fn own_addresses(&self) -> OwnAddresses {
        let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            tracing::warn!(%error, "the interfaces of this machine cannot be read");
            Vec::new()
        });
        let up = found.iter().filter(|part| part.is_oper_up() && !part.is_loopback());
        self.among(up.map(if_addrs::Interface::ip).collect())
    }

    /// As above, with these addresses of interfaces.
    fn among(&self, interfaces: Vec<IpAddr>) -> OwnAddresses {
        let own = self.at.ip();
        let mut usable: Vec<IpAddr> = match own.is_unspecified() {
            false => vec![own],
            // A socket of IPv6 usually takes IPv4 as well, never the other way round.
            true => interfaces.into_iter().filter(|it| it.is_ipv4() || own.is_ipv6()).collect(),
        };
        usable.retain(|it| !it.is_loopback() && !is_link_local(*it));
        usable.sort_unstable();
        usable.dedup();
        usable.truncate(MOST);
        let loopback_only = usable.is_empty();
        if loopback_only {
            usable.push(if own.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { own });
        }
        OwnAddresses { urls: usable.into_iter().map(|ip| self.url(ip)).collect(), loopback_only }
    }

    fn url(&self, ip: IpAddr) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", SocketAddr::new(ip, self.at.port()), self.base_path.as_str())
    }
}

/// Such an address means something only together with an interface, which a URL cannot name.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(it) => it.is_link_local(),
        IpAddr::V6(it) => it.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(at: &str, interfaces: &[&str]) -> (Vec<String>, bool) {
        let listens = Listens { at: at.parse().unwrap(), tls: false, base_path: BasePath::default() };
        let own = listens.among(interfaces.iter().map(|it| it.parse().unwrap()).collect());
        (own.urls, own.loopback_only)
    }

    #[test]
    fn loopback_is_named_only_where_nothing_else_is_there() {
        let interfaces = ["2001:db8::7", "192.168.1.7", "fe80::1", "169.254.3.4", "10.0.0.1"];
        let v4 = ["http://10.0.0.1:9001", "http://192.168.1.7:9001"].map(str::to_owned);
        assert_eq!(urls("0.0.0.0:9001", &interfaces), (v4.to_vec(), false));
        let both = [v4.to_vec(), vec!["http://[2001:db8::7]:9001".to_owned()]].concat();
        assert_eq!(urls("[::]:9001", &interfaces), (both, false));
        assert_eq!(urls("192.168.1.7:80", &interfaces), (vec!["http://192.168.1.7:80".to_owned()], false));
        assert_eq!(urls("127.0.0.1:9001", &interfaces), (vec!["http://127.0.0.1:9001".to_owned()], true));
        assert_eq!(urls("0.0.0.0:9001", &[]), (vec!["http://127.0.0.1:9001".to_owned()], true));
    }
}
