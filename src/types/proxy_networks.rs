//! Which machines are proxies of ours.

use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// Bits of an IPv6 address before the IPv4 address that is mapped into it (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Addresses and networks of proxies. IPv4 addresses that are written as IPv6 (`::ffff:10.0.0.1`) are the IPv4 addresses.
#[derive(Debug, Clone, Default)]
pub struct ProxyNetworks(Vec<IpNet>);

impl ProxyNetworks {
    /// From texts such as `10.0.0.0/8`, `192.0.2.7` or `fd00::/8`.
    ///
    /// # Errors
    /// The text that is neither an address nor a network.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let network = |text: &str| {
            let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.map(unmapped).ok_or_else(|| text.to_owned())
        };
        texts.into_iter().map(|text| network(text.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a proxy of ours has this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether every address of a kind counts as a proxy's, so that anybody may say who he is.
    #[must_use]
    pub fn trusts_everybody(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let inner = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(MAPPED_BITS));
    inner.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_told_from_the_rest() {
        let proxies =
            ProxyNetworks::parse(["10.0.0.0/8", " 192.0.2.7", "fd00::/8", "::1", "::ffff:172.16.0.0/108"]).unwrap();
        for inside in ["10.255.0.1", "192.0.2.7", "fd12::1", "::1", "::ffff:10.1.2.3", "172.31.0.1"] {
            assert!(proxies.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "fe80::1", "127.0.0.1", "::ffff:192.0.2.8", "172.32.0.1"] {
            assert!(!proxies.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!proxies.trusts_everybody());
        assert!(ProxyNetworks::parse(["0.0.0.0/0"]).unwrap().trusts_everybody());
        assert!(!ProxyNetworks::default().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn anything_else_is_named() {
        for bad in ["", "localhost", "10.0.0.0/33", "10.0.0", "10.0.0.1:80", "10.0.0.0/255.0.0.0", "*", "fe80::1%eth0"]
        {
            assert_eq!(ProxyNetworks::parse(["::1", bad]).unwrap_err(), bad);
        }
    }
}
