//! Where an address may lead us that we are told to ask (server-side request forgery). Looked at for each connection, with what the
//! name means in that moment: a name that means something else the next time leads no further (DNS rebinding).

use crate::types::is_private;
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

/// Names that are remembered as public; they are the operator's, so there are few.
const MAX_NAMES: usize = 10_000;

/// Where clouds tell a machine its own secrets, to whoever asks from there. No instance is at such an address.
const SECRETS: [IpAddr; 15] = [
    v4(169, 254, 169, 254),
    v4(169, 254, 170, 2),
    v4(169, 254, 170, 23),
    v4(169, 254, 169, 253),
    v4(169, 254, 0, 23),
    v4(169, 254, 42, 42),
    v4(100, 100, 100, 200),
    v4(192, 0, 0, 192),
    v4(168, 63, 129, 16),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// Whose an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anybody's on the internet.
    Public,
    /// This machine's, its network's, or one that means something within it only.
    Inner,
    /// Nobody's who is to be asked.
    Never,
}

/// Whose an address is, also where IPv6 carries one of IPv4.
#[must_use]
pub fn kind(address: IpAddr) -> Kind {
    let address = inner(address);
    if SECRETS.contains(&address) {
        return Kind::Never;
    }
    let (never, within) = match address {
        IpAddr::V4(it) => {
            let [a, b, c, _] = it.octets();
            let never = it.is_multicast() || a >= 240;
            // Beside the private ones: "this network", IETF assignments, documentation, benchmarks.
            (never, a == 0 || (a == 192 && b == 0 && (c == 0 || c == 2)) || (a == 198 && matches!(b, 18 | 19)))
        }
        IpAddr::V6(it) => {
            let [first, ..] = it.segments();
            // Link-local, the site-local of old, and discard-only.
            (it.is_multicast(), it.is_unspecified() || first & 0xff80 == 0xfe80 || first == 0x100)
        }
    };
    match (never, within || is_private(address)) {
        (true, _) => Kind::Never,
        (false, true) => Kind::Inner,
        (false, false) => Kind::Public,
    }
}

/// The IPv4 address within one of IPv6: mapped, NAT64 (RFC 6052), 6to4 (RFC 3056).
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let of = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => of(g, h),
        (0x2002, _) => of(b, c),
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0) && (g, h) != (0, 0) && (g, h) != (0, 1) => of(g, h),
        _ => IpAddr::V6(v6),
    }
}

/// Does a connection to this address end at this machine? Linux connects to 0.0.0.0 and to :: as to loopback.
fn is_this_machine(address: IpAddr) -> bool {
    match inner(address) {
        IpAddr::V4(it) => it.is_loopback() || it.octets().starts_with(&[0]),
        IpAddr::V6(it) => it.is_loopback() || it.is_unspecified(),
    }
}

/// To which peers requests go over plain HTTP (`http://`), where everything can be read on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Those at loopback and private addresses.
    Private,
    /// All.
    Always,
    /// Those on this machine only.
    Never,
}

impl PlainHttp {
    /// May a peer at this address be asked without TLS? Also where IPv6 carries an address of IPv4.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Always => true,
            Self::Private => kind(address) == Kind::Inner,
            Self::Never => inner(address).is_loopback(),
        }
    }

    /// As the setting is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// Why nobody is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfReach {
    /// A secret's, or no machine's.
    #[error("{0} is an address that is never asked: a cloud's metadata service, or no machine's")]
    Never(IpAddr),
    /// Within, and named by somebody outside.
    #[error(
        "{0} is within this machine's network, where only peers may be that the operator named (federation.private_peers)"
    )]
    Inner(IpAddr),
    /// This machine itself, named by another one.
    #[error("{0} is this machine itself, which is asked by the wish of its own programs only")]
    ThisMachine(IpAddr),
    /// The name led to the internet before.
    #[error(
        "{0} led to the internet before and leads into this machine's network now; restart the service if that is right"
    )]
    Rebound(String),
    /// It would be asked without TLS.
    #[error(
        "{0} would be asked over plain HTTP, which anybody on the way can read: use https://, or set federation.plain_http, which is \
         {policy:?} (private: loopback and private addresses, always, never)",
        policy = .1.as_str()
    )]
    PlainHttp(IpAddr, PlainHttp),
    /// The name has no address.
    #[error("{0} has no address")]
    Nowhere(String),
}

/// Which peers may be within this machine's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InnerPeers {
    /// All.
    Any,
    /// Those that the operator named, one by one: these of the settings, those that are peers, and whom he asks us to ask.
    Named(Vec<String>),
    /// These of the settings only.
    Listed(Vec<String>),
}

impl InnerPeers {
    /// May this one be? `is_named`: the operator names it in this moment, or did so when it became a peer.
    #[must_use]
    pub fn allow(&self, url: &str, is_named: impl FnOnce() -> bool) -> bool {
        let is_listed =
            |listed: &[String]| listed.iter().any(|listed| listed.trim_end_matches('/') == url.trim_end_matches('/'));
        match self {
            Self::Any => true,
            Self::Named(listed) => is_listed(listed) || is_named(),
            Self::Listed(listed) => is_listed(listed),
        }
    }
}

/// Where somebody who names an address may lead us.
#[derive(Debug)]
pub struct Reach {
    inner: bool,
    /// Also to this machine itself.
    this_machine: bool,
    /// For requests over plain HTTP; `None`: over TLS, or to whom nothing secret goes.
    plain: Option<PlainHttp>,
    /// Names that led to the internet.
    public: Mutex<HashSet<String>>,
}

impl Reach {
    /// The operator: everywhere but to secrets. A name of his may be somebody else's to change, so it stays on the side of the first
    /// answer, the internet or here.
    #[must_use]
    pub fn of_operator() -> Self {
        Self { inner: true, this_machine: true, plain: None, public: Mutex::default() }
    }

    /// An invited instance of another machine: as the operator, but not to this machine itself.
    #[must_use]
    pub fn of_guest() -> Self {
        Self { this_machine: false, ..Self::of_operator() }
    }

    /// Anybody else: to the internet.
    #[must_use]
    pub fn of_others() -> Self {
        Self { inner: false, this_machine: false, plain: None, public: Mutex::default() }
    }

    /// The same for requests over plain HTTP.
    #[must_use]
    pub fn over_plain_http(self, policy: PlainHttp) -> Self {
        Self { plain: Some(policy), ..self }
    }

    /// May this address be asked, written as it is?
    ///
    /// # Errors
    /// [`OutOfReach`].
    pub fn check(&self, address: IpAddr) -> Result<(), OutOfReach> {
        match kind(address) {
            Kind::Never => Err(OutOfReach::Never(address)),
            Kind::Inner if !self.inner => Err(OutOfReach::Inner(address)),
            Kind::Inner if !self.this_machine && is_this_machine(address) => Err(OutOfReach::ThisMachine(address)),
            Kind::Inner | Kind::Public => self.check_plain(address),
        }
    }

    fn check_plain(&self, address: IpAddr) -> Result<(), OutOfReach> {
        match self.plain {
            Some(policy) if !policy.allows(address) => Err(OutOfReach::PlainHttp(address, policy)),
            _ => Ok(()),
        }
    }

    /// Those of a name's addresses that may be asked; over plain HTTP all of them must be allowed, for the name's owner decides which is
    /// connected to.
    fn all_plain(&self, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, OutOfReach> {
        addresses.iter().try_for_each(|address| self.check_plain(*address)).map(|()| addresses)
    }

    /// Those of a name's addresses that may be asked. One that leads both out and in leads out.
    ///
    /// # Errors
    /// [`OutOfReach`], where there is none.
    pub fn of_name(&self, name: &str, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, OutOfReach> {
        let first = found.first().copied().ok_or_else(|| OutOfReach::Nowhere(name.to_owned()))?;
        let is = |wanted: Kind| found.iter().copied().filter(move |it| kind(*it) == wanted);
        let mut public = self.public.lock().unwrap_or_else(PoisonError::into_inner);
        let outside: Vec<IpAddr> = is(Kind::Public).collect();
        if !outside.is_empty() {
            if public.len() < MAX_NAMES {
                public.insert(name.to_owned());
            }
            return self.all_plain(outside);
        }
        let within: Vec<IpAddr> = is(Kind::Inner).collect();
        match within.first() {
            None => Err(OutOfReach::Never(first)),
            Some(address) if !self.inner => Err(OutOfReach::Inner(*address)),
            // Its owner decides which of its addresses is connected to.
            Some(_) if !self.this_machine && within.iter().any(|it| is_this_machine(*it)) => {
                Err(OutOfReach::ThisMachine(first))
            }
            Some(_) if public.contains(name) => Err(OutOfReach::Rebound(name.to_owned())),
            Some(_) => self.all_plain(within),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_told_apart_however_they_are_written() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
            "224.0.0.251",
            "ff02::fb",
            "255.255.255.255",
            "240.0.0.1",
        ] {
            assert_eq!(kind(ip(text)), Kind::Never, "{text}");
        }
        for text in [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "::",
            "fe80::1",
            "fec0::1",
            "fd12::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:a00:1::",
            "::127.0.0.1",
            "198.18.0.1",
        ] {
            assert_eq!(kind(ip(text)), Kind::Inner, "{text}");
        }
        for text in ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1"] {
            assert_eq!(kind(ip(text)), Kind::Public, "{text}");
        }
    }

    #[test]
    fn a_peer_within_is_one_that_the_operator_named() {
        let listed = vec!["http://10.0.0.1:9001/".to_owned()];
        let (any, named, only) = (InnerPeers::Any, InnerPeers::Named(listed.clone()), InnerPeers::Listed(listed));
        for (url, is_named, allowed) in [
            ("http://10.0.0.1:9001", false, [true, true, true]),
            ("http://10.0.0.1:9002", true, [true, true, false]),
            ("http://10.0.0.1:9002", false, [true, false, false]),
        ] {
            assert_eq!([&any, &named, &only].map(|peers| peers.allow(url, || is_named)), allowed, "{url} {is_named}");
        }
    }

    #[test]
    fn the_operator_leads_inside_and_others_do_not() {
        let (operator, others) = (Reach::of_operator(), Reach::of_others());
        assert_eq!(operator.check(ip("127.0.0.1")), Ok(()));
        assert_eq!(others.check(ip("127.0.0.1")), Err(OutOfReach::Inner(ip("127.0.0.1"))));
        assert_eq!(others.check(ip("8.8.8.8")), Ok(()));
        for reach in [&operator, &others] {
            assert!(matches!(reach.check(ip("169.254.169.254")), Err(OutOfReach::Never(_))));
            assert!(matches!(reach.of_name("metadata", vec![ip("169.254.169.254")]), Err(OutOfReach::Never(_))));
            assert!(matches!(reach.of_name("nobody", Vec::new()), Err(OutOfReach::Nowhere(_))));
        }
        assert_eq!(operator.of_name("ark.lan", vec![ip("192.168.1.7")]), Ok(vec![ip("192.168.1.7")]));
        assert!(matches!(others.of_name("ark.lan", vec![ip("192.168.1.7")]), Err(OutOfReach::Inner(_))));
    }

    #[test]
    fn a_guest_leads_into_the_network_and_not_to_this_machine() {
        let guest = Reach::of_guest();
        for text in
            ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"]
        {
            assert_eq!(guest.check(ip(text)), Err(OutOfReach::ThisMachine(ip(text))), "{text}");
            assert!(matches!(guest.of_name("x", vec![ip(text)]), Err(OutOfReach::ThisMachine(_))), "{text}");
        }
        assert!(guest.of_name("both", vec![ip("10.0.0.1"), ip("127.0.0.1")]).is_err());
        for text in ["10.0.0.1", "192.168.1.7", "8.8.8.8", "fd12::1"] {
            assert_eq!(guest.check(ip(text)), Ok(()), "{text}");
        }
        assert!(matches!(guest.check(ip("169.254.169.254")), Err(OutOfReach::Never(_))));
    }

    #[test]
    fn plain_http_goes_to_loopback_and_private_addresses_only() {
        use PlainHttp::{Always, Never, Private};
        for (address, private, never) in [
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("10.1.2.3", true, false),
            ("100.64.0.1", true, false),
            ("fd12::1", true, false),
            ("fe80::1", true, false),
            ("8.8.8.8", false, false),
            ("::ffff:8.8.8.8", false, false),
            ("64:ff9b::808:808", false, false),
            ("2606:4700::1111", false, false),
        ] {
            let allowed = [Private, Never, Always].map(|policy| policy.allows(ip(address)));
            assert_eq!(allowed, [private, never, true], "{address}");
        }
        let reach = Reach::of_operator().over_plain_http(Private);
        let refused = OutOfReach::PlainHttp(ip("8.8.8.8"), Private);
        assert!(refused.to_string().contains("federation.plain_http"), "{refused}");
        assert_eq!(reach.check(ip("8.8.8.8")), Err(refused.clone()));
        assert_eq!(reach.of_name("peer.example", vec![ip("8.8.8.8")]), Err(refused.clone()));
        assert_eq!(reach.of_name("both.example", vec![ip("10.0.0.1"), ip("8.8.8.8")]), Err(refused));
        assert_eq!(reach.of_name("peer.lan", vec![ip("10.0.0.1")]), Ok(vec![ip("10.0.0.1")]));
        let never = Reach::of_operator().over_plain_http(Never);
        assert!(never.of_name("peer.lan", vec![ip("10.0.0.1")]).is_err());
        assert!(never.of_name("localhost", vec![ip("127.0.0.1"), ip("::1")]).is_ok());
    }

    #[test]
    fn a_name_that_means_something_else_the_next_time_leads_no_further() {
        let operator = Reach::of_operator();
        let (outside, inside) = (ip("8.8.8.8"), ip("127.0.0.1"));
        assert_eq!(operator.of_name("peer.example", vec![inside, outside]), Ok(vec![outside]), "both at once");
        let rebound = OutOfReach::Rebound("peer.example".to_owned());
        assert_eq!(operator.of_name("peer.example", vec![inside]), Err(rebound));
        assert_eq!(operator.of_name("peer.example", vec![ip("9.9.9.9")]), Ok(vec![ip("9.9.9.9")]));
        assert_eq!(operator.of_name("localhost", vec![inside]), Ok(vec![inside]), "another name");
    }
}
