//! Why a request got no answer, from the errors of the HTTP and TLS libraries. Their words do not reach people: they name states of a
//! parser, not what is wrong with an address.

use reqwest::Url;
use rustls::{AlertDescription, CertificateError};
use std::{error::Error, fmt, io};

/// Names of a certificate that are listed.
const LISTED_NAMES: usize = 3;

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing listens at the address.
    Refused,
    /// No answer within the time limit.
    Timeout,
    /// The host name has no address.
    NameUnknown,
    /// No route leads to the address.
    NoRoute,
    /// The address was asked with TLS and answers without.
    PlainHttp,
    /// What answers is no HTTP; over `http://` most often a port that speaks TLS.
    NotHttp {
        /// The address was asked without TLS.
        plain: bool,
    },
    /// The certificate does not count.
    Certificate(CertificateFault),
    /// The other side wants a certificate of ours, or does not accept the one that it got.
    ClientCertificate,
    /// The TLS handshake failed for another reason.
    Handshake,
    /// The connection ended before the answer did.
    Cut,
    /// Another reason, in words of ours or of the operating system.
    Other(String),
}

/// What is wrong with the certificate of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFault {
    /// No authority that is trusted here issued it: it may be self-signed.
    UnknownIssuer,
    /// It is the certificate of an authority (CA:TRUE), which no server may use: what `openssl req -x509` makes.
    IsAuthority,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for other names.
    OtherName(Vec<String>),
    /// Its issuer revoked it.
    Revoked,
    /// It cannot be read, or its signature is wrong.
    Invalid,
}

impl NoAnswer {
    /// Reads the error of a request to `url`.
    pub(super) fn of(error: &reqwest::Error, url: &Url) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        let mut innermost = String::new();
        while let Some(error) = source {
            if let Some(found) = Self::of_part(error, url) {
                return found;
            }
            innermost = error.to_string();
            source = error.source();
        }
        if innermost.starts_with("failed to lookup address information") {
            return Self::NameUnknown;
        }
        Self::Other(super::printable(&innermost))
    }

    fn of_part(error: &(dyn Error + 'static), url: &Url) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // The source of such an error is that of the error within it, which may be of this kind again.
            let within = error.get_ref().map(|within| -> &(dyn Error + 'static) { within });
            return within.and_then(|within| Self::of_part(within, url)).or_else(|| Self::of_io(error));
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(Self::of_tls(error));
        }
        let error = error.downcast_ref::<hyper::Error>()?;
        if error.is_canceled() {
            // The connection ended before the request was on its way; the source has the reason.
            return error.source().and_then(|reason| Self::of_part(reason, url)).or(Some(Self::Cut));
        }
        if error.is_incomplete_message() || error.is_closed() {
            return Some(Self::Cut);
        }
        // What cannot be parsed, or comes before anything was asked.
        let is_other = error.source().is_none() && !error.is_user() && !error.is_timeout();
        (error.is_parse() || is_other).then(|| Self::NotHttp { plain: url.scheme() == "http" })
    }

    fn of_io(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
                Some(Self::NoRoute)
            }
            io::ErrorKind::TimedOut => Some(Self::Timeout),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Some(Self::Cut),
            _ => None,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidMessage(_) => Self::PlainHttp,
            rustls::Error::InvalidCertificate(error) => Self::Certificate(CertificateFault::of(error)),
            rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::AccessDenied,
            ) => Self::ClientCertificate,
            _ => Self::Handshake,
        }
    }
}

impl CertificateFault {
    fn of(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => Self::OtherName(presented.clone()),
            CertificateError::Revoked => Self::Revoked,
            // The library has no variant of its own for it.
            CertificateError::Other(other) if format!("{:?}", other.0) == "CaUsedAsEndEntity" => Self::IsAuthority,
            _ => Self::Invalid,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused: nothing listens there"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::NameUnknown => f.write_str("the host name has no address"),
            Self::NoRoute => f.write_str("no route leads there"),
            Self::PlainHttp => f.write_str("it does not speak TLS: it may speak plain HTTP"),
            Self::NotHttp { plain: true } => f.write_str("it does not answer in plain HTTP: it may speak TLS"),
            Self::NotHttp { plain: false } => f.write_str("it does not answer in HTTP"),
            Self::Certificate(fault) => write!(f, "its certificate {fault}"),
            Self::ClientCertificate => f.write_str("it asks for a client certificate that it trusts"),
            Self::Handshake => f.write_str("the two sides agree on no way to use TLS"),
            Self::Cut => f.write_str("the connection ended before the answer did"),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str("is self-signed, or issued by an authority that is not trusted here"),
            Self::IsAuthority => f.write_str("is that of an authority (CA:TRUE), which no server may use"),
            Self::Expired => f.write_str("has expired"),
            Self::NotYetValid => f.write_str("is not valid yet"),
            Self::OtherName(names) if names.is_empty() => f.write_str("is for another name"),
            Self::OtherName(names) => {
                let listed: Vec<String> = names.iter().take(LISTED_NAMES).map(|name| super::printable(name)).collect();
                write!(f, "is for other names: {}", listed.join(", "))
            }
            Self::Revoked => f.write_str("is revoked"),
            Self::Invalid => f.write_str("is not valid"),
        }
    }
}

impl From<String> for NoAnswer {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl From<&str> for NoAnswer {
    fn from(reason: &str) -> Self {
        Self::Other(reason.to_owned())
    }
}
