//! On whose account a request goes.

use crate::types::PublicKey;
use std::{fmt, net::IpAddr};

/// Who pays. IPv4 by address; IPv6 by the /64 that one customer has at least, and by the /48 that he has at most (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payer {
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address.
    Net64(u64),
    /// The first 48 bits of an IPv6 address.
    Net48(u64),
    /// A key whose signature was checked.
    Key(PublicKey),
    /// Everybody for whom there was no place any more.
    Rest,
}

const BITS_BELOW_48: u32 = 16;

impl Payer {
    /// For an address; IPv4 that is written as IPv6 is IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::Net64([a, b, c, d].into_iter().fold(0, |bits, part| (bits << 16) | u64::from(part)))
            }
        }
    }

    /// For an address, IPv6 by the /48 that one customer may have.
    #[must_use]
    pub fn wide(address: Option<IpAddr>) -> Self {
        address.map(Self::of).map_or(Self::Rest, |payer| payer.wider().unwrap_or(payer))
    }

    /// The wider network that pays as well, where there is one.
    pub(super) fn wider(self) -> Option<Self> {
        match self {
            Self::Net64(bits) => Some(Self::Net48(bits >> BITS_BELOW_48)),
            Self::V4(_) | Self::Net48(_) | Self::Key(_) | Self::Rest => None,
        }
    }
}

/// As a part of a key in a store that replicas share.
impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(bits) => write!(f, "4:{bits:08x}"),
            Self::Net64(bits) => write!(f, "64:{bits:016x}"),
            Self::Net48(bits) => write!(f, "48:{bits:012x}"),
            Self::Key(key) => write!(f, "key:{key}"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

/// Whoever sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(Option<Payer>);

impl Caller {
    /// Somebody whose requests are counted.
    #[must_use]
    pub fn counted(address: IpAddr) -> Self {
        Self(Some(Payer::of(address)))
    }

    /// A program of this machine: it could take all there is in other ways.
    #[must_use]
    pub const fn local() -> Self {
        Self(None)
    }

    /// Who pays; `None`: nobody.
    #[must_use]
    pub const fn payer(self) -> Option<Payer> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Payer {
        Payer::of(text.parse().unwrap())
    }

    #[test]
    fn one_customer_is_one_payer() {
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("2001:db8:1:2::1").wider(), of("2001:db8:1:ffff::1").wider());
        assert_ne!(of("2001:db8:1::").wider(), of("2001:db8:2::").wider());
        assert_eq!((of("192.0.2.7").wider(), Payer::Rest.wider()), (None, None));
    }

    #[test]
    fn no_two_share_a_name() {
        let key = Payer::Key(PublicKey::from_bytes([7; 32]));
        let all = [of("0.0.0.1"), of("::1"), of("::1").wider().unwrap(), key, Payer::Rest].map(|it| it.to_string());
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 5, "{all:?}");
        assert_eq!((all[0].as_str(), all[2].as_str()), ("4:00000001", "48:000000000000"));
    }
}
