//! Kinds of failures between instances, each with a stable code and the next step for the admin. One table: status, log, commands and
//! `doctor` take the step from here.

use super::{
    client::{CertificateFault, ClientError, NoAnswer},
    run::RoundError,
};
use crate::{
    guard::OutOfReach,
    lattice::LatticeError,
    trust::accept_command,
    types::{PeerId, ShellWord},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How grave a failure is for a program: what its exit code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// No answer, or a fault of the other side: it may pass.
    Unavailable,
    /// The other side refuses, or this instance refuses the other side.
    Refused,
    /// The other side is not who it was, or what it sends does not verify.
    Differs,
    /// A fault of this instance.
    Local,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal $class:ident $next:literal,)*) => {
        /// The kind of a failure. Its code is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FailureKind { $($(#[doc = $doc])* $variant,)* }

        impl FailureKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code, as status and `--json` show it.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The class.
            #[must_use]
            pub const fn class(self) -> FailureClass {
                match self { $(Self::$variant => FailureClass::$class,)* }
            }

            const fn template(self) -> &'static str {
                match self { $(Self::$variant => $next,)* }
            }
        }
    };
}

// In a step, {again} is the command that tries again, {remove} the one that removes the address, {replace} the one that takes the instance
// that answers at the address now, {http} and {https} those that name it with the other scheme, {url} the address, {peer} and {own} the ids of the
// two instances, {accept} the command of a refusal that lets this instance write.
kinds! {
    /// Nothing listens at the address.
    ConnectionRefused = "connection_refused" Unavailable
        "check the port, or start the service. On that machine: ark-lattice serve; when it is back: {again}",
    /// No answer within the time limit.
    Timeout = "timeout" Unavailable
        "check the address, and that no firewall is between; when it is back: {again}",
    /// The host name has no address.
    NameUnknown = "name_unknown" Unavailable "check the spelling of the host name; {remove}",
    /// No route leads to the address.
    NoRoute = "no_route" Unavailable "check the network of this machine, and the address; when it is back: {again}",
    /// The connection ended early.
    ConnectionCut = "connection_cut" Unavailable "when it is back: {again}",
    /// Another reason for no answer.
    Unreachable = "unreachable" Unavailable "when it is back: {again}",
    /// It was asked with TLS and speaks plain HTTP.
    PlainHttpThere = "plain_http_there" Unavailable "{http}; if that fails too, another program has that port",
    /// It was asked in plain HTTP and does not answer in HTTP.
    TlsThere = "tls_there" Unavailable "{https}; if that fails too, another program has that port",
    /// It does not answer in HTTP.
    NotHttp = "not_http" Unavailable "another program has that port: {remove}",
    /// No authority that is trusted here issued its certificate.
    CertificateUntrusted = "certificate_untrusted" Unavailable
        "trust it: copy the authority's certificate (of a self-signed one, itself) to this machine, and name the file in {ca}",
    /// Its certificate is that of an authority.
    CertificateIsAuthority = "certificate_is_authority" Unavailable
        "give it a server's certificate. On that machine: openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 365 \
         -subj /CN={host} -addext subjectAltName=DNS:{host} -addext basicConstraints=critical,CA:FALSE; and name cert.pem here in {ca}",
    /// Its certificate has expired.
    CertificateExpired = "certificate_expired" Unavailable
        "renew the certificate on that machine; if it is valid there, set the clock here: timedatectl set-ntp true",
    /// Its certificate is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid" Unavailable
        "set the clock here: timedatectl set-ntp true; if it is right, correct the certificate on that machine",
    /// Its certificate is for another name.
    CertificateOtherName = "certificate_other_name" Unavailable
        "use an address that the certificate names, or have {host} put into it; {remove}",
    /// Its certificate is revoked or cannot be read.
    CertificateInvalid = "certificate_invalid" Unavailable "replace the certificate on that machine",
    /// It wants a certificate of this instance.
    ClientCertificate = "client_certificate" Refused
        "give this instance a certificate that is trusted there: federation.tls_client_certificate and federation.tls_client_key",
    /// TLS fails otherwise.
    TlsHandshake = "tls_handshake" Unavailable "check the TLS settings on that machine: at least TLS 1.2 is needed",
    /// The address is not asked by the settings.
    OutOfReach = "out_of_reach" Refused "{remove}",
    /// The address is not asked over plain HTTP.
    PlainHttp = "plain_http" Refused "{https}",
    /// This instance exchanges with its hub only.
    HubOnly = "hub_only" Refused "to exchange with others too, set FEDERATION_MODE=hybrid and restart the service; {remove}",
    /// It is no address.
    InvalidAddress = "invalid_address" Refused "{remove}",
    /// What answers is no ark-lattice service.
    NotAnInstance = "not_an_instance" Refused
        "check the address, and its prefix behind a proxy; if it is an original ARK service, which signs nothing: ark-lattice federation \
         add-peer {url} --unsigned; otherwise: {remove}",
    /// It redirects elsewhere.
    Redirected = "redirected" Refused "if the other address is right, use that one; {remove}",
    /// It belongs to another network.
    OtherNetwork = "other_network" Refused "set the same FEDERATION_NETWORK_KEY on both machines",
    /// The authorities' certificates here cannot be used.
    Authorities = "authorities" Local "correct the file that {ca} names",
    /// The address leads back to this instance.
    OwnAddress = "own_address" Local "{remove}",
    /// The address leads to an instance that is a peer at another address.
    SameInstance = "same_instance" Local "{remove}",
    /// Another instance has the id of this one.
    SameId = "same_id" Differs
        "start one of the two with another id: ARK_NODE_ID=<new id> ark-lattice serve",
    /// Another key signs than before.
    OtherKey = "key_mismatch" Differs "if that is right: {replace}",
    /// Another instance answers than before.
    OtherInstance = "other_instance" Differs "if that is right: {replace}",
    /// The owner of its key revoked it.
    PeerKeyRevoked = "peer_key_revoked" Refused "on that machine: ark-lattice key recover",
    /// Its key is revoked here.
    RevokedHere = "revoked_here" Refused
        "if the key is to be trusted again: ark-lattice federation trust add --peer {url}; otherwise: {remove}",
    /// It is in quarantine here.
    QuarantinedHere = "quarantined_here" Refused
        "see what it contradicted: ark-lattice audit list; to trust it again: ark-lattice federation trust add --peer {url}",
    /// It is not verified here, and was not named.
    NotVerifiedHere = "not_verified_here" Refused "if it may change nodes here: ark-lattice federation trust add --peer {url}",
    /// It shows an older state than before, or contradicts it.
    Contradiction = "contradiction" Differs
        "if it was restored from a backup: ark-lattice federation trust add --peer {url}; see also: ark-lattice audit list",
    /// The key of this instance is revoked.
    OwnKeyRevoked = "own_key_revoked" Local "ark-lattice key recover",
    /// The clocks differ.
    Clock = "clock" Differs "compare the clocks (date -u) and set the wrong one: timedatectl set-ntp true; then: {again}",
    /// It takes no changes of this instance.
    RefusedNotTrusted = "refused_not_trusted" Refused "on that machine: {accept}",
    /// The key of this instance is revoked there.
    RefusedRevoked = "refused_peer_revoked" Refused
        "if this instance is to be trusted again, on that machine: ark-lattice federation trust show {own}",
    /// This instance is in quarantine there.
    RefusedQuarantined = "refused_quarantined" Refused "on that machine: ark-lattice federation trust show {own}",
    /// Another key has the id of this instance there.
    RefusedKey = "refused_key_mismatch" Refused
        "another machine may have the same id: start one of the two with another: ARK_NODE_ID=<new id> ark-lattice serve; if the key of this \
         one changed, on that machine: {accept}",
    /// It is not on the list of that instance.
    RefusedNotListed = "refused_not_listed" Refused "add id and key of this instance to trust.listed on that machine",
    /// It is a mirror.
    RefusedReadOnly = "refused_read_only" Refused "it only takes from its own peers; to take from it: ark-lattice federation add-peer {url} --mirror",
    /// The request is dated wrongly, or its signature does not count.
    RefusedSignature = "refused_request_signature" Refused
        "compare the clocks (date -u) and set the wrong one: timedatectl set-ntp true; then: {again}",
    /// Its conflicts with this instance are as many as may be.
    RefusedConflictsFull = "refused_conflicts_full" Refused "settle its conflicts. On that machine: ark-lattice conflicts list",
    /// It holds as much as it may.
    RefusedLatticeFull = "refused_lattice_full" Refused "raise limits.lattice_nodes or limits.lattice_bytes on that machine",
    /// Too much would be deleted there.
    RefusedMassDelete = "refused_mass_delete" Refused "on that machine: ark-lattice federation deletions",
    /// The body is too large, most often for a proxy.
    RefusedTooLarge = "refused_too_large" Refused "let the proxy there pass 32 MiB (nginx: client_max_body_size 33m;)",
    /// A route is missing: it is no instance, or a proxy hides the route.
    RefusedNotFound = "refused_not_found" Refused
        "check the address, and its prefix behind a proxy; if it is an original ARK service, which signs nothing: ark-lattice federation \
         add-peer {url} --unsigned; otherwise: {remove}",
    /// It asks for fewer requests.
    RateLimited = "rate_limited" Refused "nothing: it is tried again after the time that it asks for",
    /// Another refusal.
    Refused = "refused" Refused "see the log of that instance",
    /// The federation is stopped there.
    StoppedThere = "stopped_there" Unavailable "on that machine: ark-lattice federation start",
    /// Its directory, disk or registry fails.
    FaultThere = "fault_there" Unavailable "on that machine: ark-lattice doctor",
    /// It is starting or stopping, or busy.
    BusyThere = "busy_there" Unavailable "nothing: it is tried again; at once with: {again}",
    /// The proxy in front of it does not reach it.
    ProxyThere = "proxy_there" Unavailable "the proxy there does not reach the service. On that machine: ark-lattice doctor",
    /// Another fault of the other side.
    ServerFailed = "server_failed" Unavailable "see the log of that instance; then: {again}",
    /// What it sends is not the protocol.
    Protocol = "protocol" Refused "bring both instances to the same version: ark-lattice --version",
    /// It has more nodes than fit here.
    TooManyNodes = "too_many_nodes" Local "raise limits.lattice_nodes here",
    /// The sets differ after everything was exchanged.
    SetsDiffer = "sets_differ" Differs "ark-lattice doctor, on both machines",
    /// What comes is mixed of several states.
    Mixed = "mixed" Differs "let no cache or balancer stand between the two; then: {again}",
    /// It sends more than fits in one round.
    TooLong = "too_long" Unavailable "nothing: the next round goes on; at once with: {again}",
    /// Two instances have one identity.
    Cloned = "cloned" Differs "give one of the two machines an identity of its own, as the message says",
    /// The data directory or the journal here fails.
    LatticeHere = "lattice_here" Local "ark-lattice doctor",
    /// As many conflicts with the peer are kept here as may be: what would add to them is not taken.
    ConflictsFullHere = "conflicts_full_here" Local "settle the conflicts here: ark-lattice conflicts list",
    /// The registry here fails.
    RegistryHere = "registry_here" Local "ark-lattice doctor",
    /// The federation was stopped, or this instance stops.
    StoppedHere = "stopped_here" Local "ark-lattice federation start",
}

/// Where the failure occurred.
#[derive(Debug, Clone, Copy)]
pub enum FailedAt<'a> {
    /// At a peer of the running service.
    Peer {
        /// Its address.
        url: &'a str,
        /// The setting that names it; `None`: a command ends the peer.
        setting: Option<&'a str>,
    },
    /// At the address that a command was given.
    Command(&'a str),
}

/// What a step names.
#[derive(Debug, Clone, Copy)]
pub struct FailureContext<'a> {
    /// Where it occurred.
    pub at: FailedAt<'a>,
    /// The id of this instance, where it is known.
    pub own_id: Option<&'a str>,
    /// What the failure says: some refusals name the command that ends them.
    pub text: &'a str,
}

impl FailureKind {
    /// The kind with this code.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Is it about the way to the other side, and not about what was asked?
    #[must_use]
    pub const fn is_about_the_way(self) -> bool {
        matches!(self, Self::TlsThere | Self::RefusedTooLarge | Self::RefusedSignature | Self::ClientCertificate)
    }

    /// What to do next.
    #[must_use]
    pub fn next(self, context: &FailureContext<'_>) -> String {
        let (url, is_peer, setting) = match context.at {
            FailedAt::Peer { url, setting } => (url, true, setting),
            FailedAt::Command(url) => (url, false, None),
        };
        let word = ShellWord(url).to_string();
        let other = |scheme: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            let other = ShellWord(&format!("{scheme}://{rest}")).to_string();
            match setting {
                Some(setting) => format!("write {other} in {setting} and restart the service"),
                None if is_peer => {
                    format!("ark-lattice federation remove-peer {word} && ark-lattice federation add-peer {other}")
                }
                None => format!("use {other}"),
            }
        };
        let or = |peer: String, command: &str| if is_peer { peer } else { command.to_owned() };
        let remove = match setting {
            Some(setting) => format!("take {word} out of {setting} and restart the service"),
            None => or(format!("ark-lattice federation remove-peer {word}"), "use another address"),
        };
        let accept = accept_command(context.text).unwrap_or("ark-lattice federation pending");
        let own = context.own_id.map_or_else(|| "ID".to_owned(), |id| ShellWord(id).to_string());
        let host = host_of(url);
        self.template()
            .replace("{again}", &or(format!("ark-lattice federation sync --peer {word}"), "try again"))
            .replace("{replace}", &format!("ark-lattice federation add-peer {word} --replace"))
            .replace("{remove}", &remove)
            .replace("{https}", &other("https"))
            .replace("{http}", &other("http"))
            .replace("{ca}", &or("federation.tls_ca".to_owned(), "--ca-file, or in federation.tls_ca"))
            .replace("{host}", host)
            .replace("{accept}", accept)
            .replace("{own}", &own)
            .replace("{url}", &word)
    }
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, _)) => v6,
        None => authority.split(':').next().unwrap_or_default(),
    }
}

impl ClientError {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Address(..) => FailureKind::InvalidAddress,
            Self::Authorities(_) => FailureKind::Authorities,
            Self::Unreachable(_, reason) => no_answer(reason),
            Self::OutOfReach(_, OutOfReach::PlainHttp(..)) => FailureKind::PlainHttp,
            Self::OutOfReach(..) => FailureKind::OutOfReach,
            Self::Refused { status, code, detail, .. } => refused(*status, code, detail),
            Self::Server { status, code, .. } => failed(*status, code),
            Self::Distrusted { code, .. } => match *code {
                "peer_revoked" => FailureKind::RevokedHere,
                "quarantined" => FailureKind::QuarantinedHere,
                "not_trusted" => FailureKind::NotVerifiedHere,
                "state_unavailable" => FailureKind::LatticeHere,
                _ => FailureKind::Contradiction,
            },
            Self::Redirected(..) => FailureKind::Redirected,
            Self::OtherNetwork(_) => FailureKind::OtherNetwork,
            Self::Protocol(..) => FailureKind::NotAnInstance,
        }
    }
}

const fn no_answer(reason: &NoAnswer) -> FailureKind {
    match reason {
        NoAnswer::Refused => FailureKind::ConnectionRefused,
        NoAnswer::Timeout => FailureKind::Timeout,
        NoAnswer::NameUnknown => FailureKind::NameUnknown,
        NoAnswer::NoRoute => FailureKind::NoRoute,
        NoAnswer::PlainHttp => FailureKind::PlainHttpThere,
        NoAnswer::NotHttp { plain: true } => FailureKind::TlsThere,
        NoAnswer::NotHttp { plain: false } => FailureKind::NotHttp,
        NoAnswer::ClientCertificate => FailureKind::ClientCertificate,
        NoAnswer::Handshake => FailureKind::TlsHandshake,
        NoAnswer::Cut => FailureKind::ConnectionCut,
        NoAnswer::Other(_) => FailureKind::Unreachable,
        NoAnswer::Certificate(fault) => match fault {
            CertificateFault::UnknownIssuer => FailureKind::CertificateUntrusted,
            CertificateFault::IsAuthority => FailureKind::CertificateIsAuthority,
            CertificateFault::Expired => FailureKind::CertificateExpired,
            CertificateFault::NotYetValid => FailureKind::CertificateNotYetValid,
            CertificateFault::OtherName(_) => FailureKind::CertificateOtherName,
            CertificateFault::Revoked | CertificateFault::Invalid => FailureKind::CertificateInvalid,
        },
    }
}

/// Of an answer with 4xx.
fn refused(status: u16, code: &str, detail: &str) -> FailureKind {
    match code {
        "not_trusted" if is_other_key(detail) => FailureKind::RefusedKey,
        "not_trusted" => FailureKind::RefusedNotTrusted,
        "peer_revoked" => FailureKind::RefusedRevoked,
        "quarantined" => FailureKind::RefusedQuarantined,
        "key_mismatch" => FailureKind::RefusedKey,
        "not_listed" => FailureKind::RefusedNotListed,
        "read_only" => FailureKind::RefusedReadOnly,
        "request_signature" | "clock_skew" | "stale_statement" => FailureKind::RefusedSignature,
        "conflicts_full" => FailureKind::RefusedConflictsFull,
        "lattice_full" => FailureKind::RefusedLatticeFull,
        "mass_delete" => FailureKind::RefusedMassDelete,
        "rate_limited" => FailureKind::RateLimited,
        "client_certificate" => FailureKind::ClientCertificate,
        // What nginx, Go and Apache answer where plain HTTP reaches a port that speaks TLS.
        "" if status == 400 && is_tls_port(detail) => FailureKind::TlsThere,
        "" if status == 413 => FailureKind::RefusedTooLarge,
        "" if status == 404 || status == 405 => FailureKind::RefusedNotFound,
        "not_found" => FailureKind::RefusedNotFound,
        _ => FailureKind::Refused,
    }
}

/// Does an instance refuse this one because another key has its id there?
fn is_other_key(detail: &str) -> bool {
    ["another key speaks for that id", "another key is trusted to speak for", "which has another key"]
        .iter()
        .any(|it| detail.contains(it))
}

fn is_tls_port(detail: &str) -> bool {
    let lower = detail.to_ascii_lowercase();
    ["to https port", "to an https server", "speaking plain http to an ssl-enabled"].iter().any(|it| lower.contains(it))
}

/// Of an answer with 5xx.
fn failed(status: u16, code: &str) -> FailureKind {
    match code {
        "federation_stopped" => FailureKind::StoppedThere,
        "lattice_unavailable"
        | "registry_unavailable"
        | "registry_full"
        | "state_unavailable"
        | "no_space"
        | "node_unavailable"
        | "no_key" => FailureKind::FaultThere,
        "draining" | "lattice_loading" | "busy" | "overloaded" | "too_many_listeners" => FailureKind::BusyThere,
        "" if matches!(status, 502..=504) => FailureKind::ProxyThere,
        _ => FailureKind::ServerFailed,
    }
}

impl RoundError {
    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Client(error) => error.kind(),
            Self::Lattice(LatticeError::Contested { .. }) => FailureKind::ConflictsFullHere,
            Self::Lattice(_) => FailureKind::LatticeHere,
            Self::OtherKey { .. } => FailureKind::OtherKey,
            Self::Revoked => FailureKind::PeerKeyRevoked,
            Self::OwnKeyRevoked => FailureKind::OwnKeyRevoked,
            Self::Keys(_) => FailureKind::RegistryHere,
            Self::OtherInstance { .. } => FailureKind::OtherInstance,
            Self::Self_ => FailureKind::OwnAddress,
            Self::SameId(_) => FailureKind::SameId,
            Self::SameInstance { .. } => FailureKind::SameInstance,
            Self::Stale(..) => FailureKind::Clock,
            Self::Wire(_) | Self::OtherFeed(_) | Self::Message(_) | Self::Impossible(_) | Self::Unsteady => {
                FailureKind::Protocol
            }
            Self::TooManyNodes { .. } => FailureKind::TooManyNodes,
            Self::Differs { .. } => FailureKind::SetsDiffer,
            Self::TooLong => FailureKind::TooLong,
            Self::Mixed => FailureKind::Mixed,
            Self::Cloned(_) | Self::OwnTwin(_) => FailureKind::Cloned,
            Self::Stopped => FailureKind::StoppedHere,
        }
    }

    /// What to do next about the peer at `url`, which this setting names.
    #[must_use]
    pub fn next(&self, url: &str, setting: Option<&str>, own_id: &PeerId) -> String {
        let at = FailedAt::Peer { url, setting };
        self.kind().next(&FailureContext { at, own_id: Some(own_id.as_str()), text: &self.to_string() })
    }
}

impl Serialize for FailureKind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for FailureKind {
    /// A code of a later version is the most general kind.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'_, str>>::deserialize(from)?;
        Ok(Self::parse(&code).unwrap_or(Self::Unreachable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_kind_has_a_code_of_its_own_and_a_step_that_is_complete() {
        let codes: HashSet<&str> = FailureKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), FailureKind::ALL.len());
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::parse(kind.code()), Some(*kind));
            let url = "http://a:9001";
            let of_settings = FailedAt::Peer { url, setting: Some("FEDERATION_HUB_URL") };
            for at in [FailedAt::Peer { url, setting: None }, of_settings, FailedAt::Command(url)] {
                let next = kind.next(&FailureContext { at, own_id: Some("me"), text: "" });
                assert!(!next.is_empty() && !next.contains(['{', '}']), "{kind:?}: {next}");
                assert!(
                    !(matches!(at, FailedAt::Peer { setting: Some(_), .. }) && next.contains("remove-peer")),
                    "{next}"
                );
            }
        }
    }

    #[test]
    fn a_step_names_addresses_as_a_shell_takes_them() {
        let next = |kind: FailureKind, url| {
            let at = FailedAt::Peer { url, setting: None };
            kind.next(&FailureContext { at, own_id: Some("it's me"), text: "" })
        };
        let other =
            "ark-lattice federation remove-peer https://a:9001 && ark-lattice federation add-peer http://a:9001";
        let plain = next(FailureKind::PlainHttpThere, "https://a:9001");
        assert_eq!(plain, format!("{other}; if that fails too, another program has that port"));
        assert!(next(FailureKind::RefusedRevoked, "http://a").ends_with(r"trust show 'it'\''s me'"));
        assert!(next(FailureKind::CertificateOtherName, "https://[::1]:9/x").contains("have ::1 put into it"));
    }

    #[test]
    fn a_port_that_speaks_tls_is_known_by_what_web_servers_answer() {
        for detail in [
            "<h1>400 Bad Request</h1> The plain HTTP request was sent to HTTPS port",
            "Client sent an HTTP request to an HTTPS server.",
            "Reason: You're speaking plain HTTP to an SSL-enabled server port.",
        ] {
            assert_eq!(refused(400, "", detail), FailureKind::TlsThere, "{detail}");
        }
        assert_eq!(refused(400, "", "Bad Request"), FailureKind::Refused);
    }
}
