//! Which addresses may be asked whether an instance is there.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most addresses that are asked in one search: a /20 of IPv4.
pub const MAX_SCAN_ADDRESSES: u64 = 4096;

/// Networks that belong to nobody in particular: this machine's, RFC 1918, RFC 6598, link-local, RFC 4193. Not `fe80::/10`: its
/// addresses mean nothing without an interface, which no URL names.
const PRIVATE: [IpNet; 8] = [
    v4(127, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    v4(100, 64, 0, 0, 10),
    v4(169, 254, 0, 0, 16),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

/// Whether an address is one of a private network.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    PRIVATE.iter().any(|network| network.contains(&address))
}

/// Why a text is no subnet that may be searched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanSubnetError {
    /// Not a network.
    #[error("{0:?} is neither a network such as 192.168.1.0/24 nor an address")]
    Unreadable(String),
    /// Not private.
    #[error(
        "{0} is not private: only 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, 169.254.0.0/16, 127.0.0.0/8, fc00::/7 and ::1 are searched"
    )]
    Public(IpNet),
    /// Too many addresses.
    #[error("more than {MAX_SCAN_ADDRESSES} addresses in all: name smaller networks, /20 at most (/116 of IPv6)")]
    TooLarge,
    /// Outside what the settings allow.
    #[error("{0} is not within discovery.scan_subnets, which the operator of this instance has set")]
    NotAllowed(IpNet),
}

/// Small private networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanSubnets(Vec<IpNet>);

impl ScanSubnets {
    /// From texts such as `192.168.1.0/24` or `10.0.0.7`.
    ///
    /// # Errors
    /// [`ScanSubnetError`], for the first text that is none or not private, or all of them together being too large.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, ScanSubnetError> {
        let mut networks = Vec::new();
        for text in texts {
            let text = text.trim();
            let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            // Shortened: it may come from a request.
            let network = network.ok_or_else(|| ScanSubnetError::Unreadable(text.chars().take(64).collect()))?.trunc();
            if !PRIVATE.iter().any(|private| private.contains(&network)) {
                return Err(ScanSubnetError::Public(network));
            }
            networks.push(network);
        }
        let networks = IpNet::aggregate(&networks);
        let sizes = networks.iter().map(|network| {
            let bits = network.max_prefix_len().saturating_sub(network.prefix_len());
            1_u64.checked_shl(u32::from(bits)).unwrap_or(u64::MAX)
        });
        match sizes.fold(0, u64::saturating_add) {
            0..=MAX_SCAN_ADDRESSES => Ok(Self(networks)),
            _ => Err(ScanSubnetError::TooLarge),
        }
    }

    /// Whether there is nothing to search.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `wanted`, all of which must be within `self`.
    ///
    /// # Errors
    /// [`ScanSubnetError::NotAllowed`].
    pub fn narrowed(&self, wanted: Self) -> Result<Self, ScanSubnetError> {
        let outside = wanted.0.iter().find(|it| !self.0.iter().any(|allowed| allowed.contains(*it)));
        match outside {
            Some(network) => Err(ScanSubnetError::NotAllowed(*network)),
            None => Ok(wanted),
        }
    }

    /// The addresses that machines may have.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().flat_map(IpNet::hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<ScanSubnets, ScanSubnetError> {
        ScanSubnets::parse(texts.iter().copied())
    }

    #[test]
    fn small_private_networks_are_taken() {
        let subnets = parse(&["192.168.1.0/30", " 10.0.0.7", "fd00::8/127", "127.0.0.1/32"]).unwrap();
        let addresses: Vec<String> = subnets.addresses().map(|it| it.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.7", "127.0.0.1", "192.168.1.1", "192.168.1.2", "fd00::8", "fd00::9"]);
        assert!(parse(&["10.0.0.0/20"]).is_ok() && parse(&["fd00::/116"]).is_ok() && parse(&[]).unwrap().is_empty());
    }

    #[test]
    fn public_ones_are_refused_also_where_only_a_part_is_public() {
        for text in [
            "8.8.8.8",
            "192.0.0.0/2",
            "0.0.0.0/0",
            "172.32.0.0/24",
            "100.128.0.0/24",
            "::/0",
            "2001:db8::/120",
            "fe80::/120",
            "::ffff:10.0.0.0/120",
            "224.0.0.0/24",
        ] {
            assert!(matches!(parse(&[text]), Err(ScanSubnetError::Public(_))), "{text}");
        }
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.1:80", "fe80::1%eth0", "10.0.0.0/\u{1b}[2J"] {
            assert!(matches!(parse(&[text]), Err(ScanSubnetError::Unreadable(_))), "{text}");
        }
    }

    #[test]
    fn large_ones_are_refused_alone_and_together() {
        for texts in [&["10.0.0.0/19"][..], &["10.0.0.0/8"], &["fd00::/64"], &["10.0.0.0/20", "10.1.0.1"]] {
            assert_eq!(parse(texts), Err(ScanSubnetError::TooLarge), "{texts:?}");
        }
        // Named twice is asked once.
        assert_eq!(parse(&["10.0.0.0/24", "10.0.0.7", "10.0.0.0/25"]).unwrap().addresses().count(), 254);
    }

    #[test]
    fn a_request_narrows_and_never_widens() {
        let allowed = parse(&["10.0.0.0/24", "10.0.1.0/24"]).unwrap();
        for inside in ["10.0.0.0/23", "10.0.0.7", "10.0.1.128/25"] {
            assert!(allowed.narrowed(parse(&[inside]).unwrap()).is_ok(), "{inside}");
        }
        for outside in ["10.0.2.1", "10.0.0.0/22", "127.0.0.1", "fd00::1"] {
            let refused = allowed.narrowed(parse(&[outside]).unwrap());
            assert!(matches!(refused, Err(ScanSubnetError::NotAllowed(_))), "{outside}");
        }
        assert!(ScanSubnets::default().narrowed(allowed).is_err());
    }
}
