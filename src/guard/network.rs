//! Who belongs to our network: whoever knows its key. A request says so with a tag over everything that matters of it, for one
//! instance and a few minutes; the answer says so with a tag over that. Who does not know the key learns nothing from either.

use crate::types::{PeerId, PublicKey, Timestamp, decode_hex, encode_hex};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// The request header that holds the tag, and the answer's.
pub const NETWORK_HEADER: &str = "ark-network";
/// The audience of a first question, to an instance whose id is not known yet. Only [`FIRST_ROUTE`] is asked so.
pub const ANYBODY: &str = "*";
/// Where an instance says who it is.
pub const FIRST_ROUTE: &str = "/lattice/head";
/// How far two clocks may be apart.
pub const NETWORK_WINDOW: Duration = Duration::from_secs(300);
/// The tag that an instance shows on its link changes so often; the one before and the next one count too.
const LINK_PERIOD_SECONDS: i64 = 3_600;
const NONCE_BYTES: usize = 16;
/// HMAC with SHA-256.
const TAG_BYTES: usize = 32;
/// The longest header that is read: a time, a nonce and a tag, in hex.
const MAX_TAG_CHARS: usize = 128;
const LINK_TAG_DIGITS: usize = 32;

/// What a tag is over.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `GET`, `POST`, …; `HEAD` counts as `GET`.
    pub method: &'a str,
    /// The path behind any prefix, as it is sent.
    pub path: &'a str,
    /// The query without its question mark; empty where there is none.
    pub query: &'a str,
    /// The value of `Content-Digest`; empty where there is no body.
    pub digest: &'a str,
}

/// A tag that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What to show in the answer.
    pub answer: String,
    /// What tells this question from all others.
    pub nonce: [u8; NONCE_BYTES],
    /// It is a first question, to whoever is there.
    pub first: bool,
}

/// Why there is no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine gives no random bytes")]
pub struct NoRandomness;

/// What follows from a network's key.
#[derive(Clone)]
pub struct NetworkKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkKey(…)")
    }
}

impl NetworkKey {
    /// From the operator's secret.
    #[must_use]
    pub fn derive(secret: &str) -> Self {
        Self(Zeroizing::new(mac(secret.as_bytes(), b"ark-lattice network 1").finalize().into_bytes().into()))
    }

    fn tag(&self, purpose: &str, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = mac(self.0.as_slice(), purpose.as_bytes());
        for part in parts {
            mac.update(b"\n");
            mac.update(part.as_bytes());
        }
        mac
    }

    fn asked(&self, asked: Asked<'_>, audience: &str, stamp: &str) -> Hmac<Sha256> {
        let method = if asked.method == "HEAD" { "GET" } else { asked.method };
        self.tag("ark-network request", &[method, asked.path, asked.query, asked.digest, audience, stamp])
    }

    /// The header of a request to `audience`: seconds, nonce and tag.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn ask(&self, asked: Asked<'_>, audience: &str, now: Timestamp) -> Result<String, NoRandomness> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| NoRandomness)?;
        let stamp = format!("{}.{}", now.seconds(), encode_hex(&nonce));
        let tag = encode_hex(&self.asked(asked, audience, &stamp).finalize().into_bytes());
        Ok(format!("{stamp}.{tag}"))
    }

    /// Whether a request to us carries a tag of our network.
    #[must_use]
    pub fn check(&self, header: &str, asked: Asked<'_>, own: &PeerId, now: Timestamp) -> Option<Member> {
        if header.len() > MAX_TAG_CHARS {
            return None;
        }
        let (stamp, tag) = header.rsplit_once('.')?;
        let (seconds, nonce) = stamp.split_once('.')?;
        let at = Timestamp::from_seconds(seconds.parse().ok()?);
        if now.since(at) > NETWORK_WINDOW || at.since(now) > NETWORK_WINDOW {
            return None;
        }
        let (tag, nonce) = (decode_hex::<TAG_BYTES>(tag)?, decode_hex(nonce)?);
        let fits = |audience: &str| self.asked(asked, audience, stamp).verify_slice(&tag).is_ok();
        // Always both: how long it takes says nothing.
        let (named, anybody) = (fits(own.as_str()), fits(ANYBODY));
        let first = anybody && asked.path == FIRST_ROUTE;
        (named || first).then(|| Member { answer: self.answer(header), nonce, first: !named })
    }

    /// What an answer to a request with this header shows.
    #[must_use]
    pub fn answer(&self, header: &str) -> String {
        encode_hex(&self.tag("ark-network answer", &[header]).finalize().into_bytes())
    }

    /// Whether an answer to a request with this header came from our network.
    #[must_use]
    pub fn answers(&self, shown: &str, header: &str) -> bool {
        decode_hex::<TAG_BYTES>(shown)
            .is_some_and(|shown| self.tag("ark-network answer", &[header]).verify_slice(&shown).is_ok())
    }

    /// What an instance shows on its link.
    #[must_use]
    pub fn link_tag(&self, id: Option<&PeerId>, key: Option<PublicKey>, now: Timestamp) -> String {
        self.link_tag_of(id, key, now.seconds().div_euclid(LINK_PERIOD_SECONDS))
    }

    fn link_tag_of(&self, id: Option<&PeerId>, key: Option<PublicKey>, period: i64) -> String {
        let (id, key) = (id.map_or("", PeerId::as_str), key.map(|key| key.to_base64()).unwrap_or_default());
        let tag = self.tag("ark-network link", &[id, &key, &period.to_string()]).finalize().into_bytes();
        encode_hex(&tag).chars().take(LINK_TAG_DIGITS).collect()
    }

    /// Whether what somebody shows on the link is of our network.
    #[must_use]
    pub fn is_on_link(&self, shown: &str, id: Option<&PeerId>, key: Option<PublicKey>, now: Timestamp) -> bool {
        let period = now.seconds().div_euclid(LINK_PERIOD_SECONDS);
        // Everybody on the link may see it, so how long the comparison takes is no secret.
        (-1..=1).any(|off| shown == self.link_tag_of(id, key, period.saturating_add(off)))
    }

    /// A name that tells networks apart in a store that they share, and nothing of the key.
    #[must_use]
    pub fn name(&self) -> String {
        encode_hex(&self.tag("ark-network name", &[]).finalize().into_bytes()).chars().take(16).collect()
    }
}

/// Whether everybody may ask this path: it is for probes, or the operator's, who shows his token, or the same on all instances.
#[must_use]
pub fn is_open_path(path: &str) -> bool {
    matches!(path, "/health" | "/ready" | "/metrics" | "/openapi.json" | "/docs" | "/federation/history")
        || path.starts_with("/docs/")
        || path.starts_with("/api/")
}

fn mac(key: &[u8], purpose: &[u8]) -> Hmac<Sha256> {
    // As RFC 2104 makes a block of a key: of any length, so that it cannot fail.
    let mut block = [0; 64];
    if key.len() > block.len() {
        block.iter_mut().zip(Sha256::digest(key)).for_each(|(to, from)| *to = from);
    } else {
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(purpose);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);
    const ASKED: Asked<'static> = Asked {
        method: "POST",
        path: "/manifest",
        query: "",
        digest: "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    };

    fn own() -> PeerId {
        PeerId::parse("ark-1").unwrap()
    }

    #[test]
    fn a_tag_is_for_one_request_to_one_instance_in_one_network() {
        let key = NetworkKey::derive("a secret of some length");
        let header = key.ask(ASKED, "ark-1", NOW).unwrap();
        let member = key.check(&header, ASKED, &own(), NOW).unwrap();
        assert!(!member.first && key.answers(&member.answer, &header));
        for other in [
            Asked { method: "PUT", ..ASKED },
            Asked { path: "/sync", ..ASKED },
            Asked { query: "a", ..ASKED },
            Asked { digest: "", ..ASKED },
        ] {
            assert_eq!(key.check(&header, other, &own(), NOW), None, "{other:?}");
        }
        let other = NetworkKey::derive("a secret of some length ");
        assert_eq!(other.check(&header, ASKED, &own(), NOW), None);
        assert!(
            !other.answers(&member.answer, &header)
                && !key.answers(&member.answer, "1.2.3")
                && !key.answers("", &header)
        );
        assert_eq!(key.check(&header, ASKED, &PeerId::parse("ark-2").unwrap(), NOW), None, "replayed elsewhere");
        assert!(key.check(&header, ASKED, &own(), NOW.plus(NETWORK_WINDOW)).is_some());
        for late in
            [NOW.plus(NETWORK_WINDOW + Duration::from_secs(1)), NOW.minus(NETWORK_WINDOW + Duration::from_secs(1))]
        {
            assert_eq!(key.check(&header, ASKED, &own(), late), None);
        }
    }

    #[test]
    fn anybody_is_asked_for_the_head_only() {
        let key = NetworkKey::derive("a secret of some length");
        let head = Asked { method: "GET", path: FIRST_ROUTE, query: "", digest: "" };
        let header = key.ask(head, ANYBODY, NOW).unwrap();
        assert!(key.check(&header, head, &own(), NOW).unwrap().first);
        assert!(key.check(&header, Asked { method: "HEAD", ..head }, &own(), NOW).is_some());
        let header = key.ask(ASKED, ANYBODY, NOW).unwrap();
        assert_eq!(key.check(&header, ASKED, &own(), NOW), None);
    }

    #[test]
    fn what_is_no_tag_is_none() {
        let key = NetworkKey::derive("a secret of some length");
        let right = key.ask(ASKED, "ark-1", NOW).unwrap();
        let cut = &right[..right.len() - 2];
        let long = format!("{right}{}", "0".repeat(200));
        for wrong in ["", ".", "..", "a.b.c", "1767225600..", cut, &long, &right.replace("1767225600", "01767225600")] {
            assert_eq!(key.check(wrong, ASKED, &own(), NOW), None, "{wrong}");
        }
        assert!(!format!("{key:?}").contains("secret"));
    }

    #[test]
    fn what_is_shown_on_the_link_changes() {
        let key = NetworkKey::derive("a secret of some length");
        let (id, public) = (Some(own()), Some(PublicKey::from_bytes([7; 32])));
        let shown = key.link_tag(id.as_ref(), public, NOW);
        let period = Duration::from_secs(3600);
        for (now, fits) in
            [(NOW, true), (NOW.plus(period), true), (NOW.minus(period), true), (NOW.plus(period * 2), false)]
        {
            assert_eq!(key.is_on_link(&shown, id.as_ref(), public, now), fits, "{now:?}");
        }
        assert!(!key.is_on_link(&shown, None, public, NOW) && !key.is_on_link(&shown, id.as_ref(), None, NOW));
    }

    /// Expected values from CPython's hmac module.
    #[test]
    fn tags_are_as_the_documentation_says() {
        let key = NetworkKey::derive("a secret of some length");
        let stamp = "1767225600.000102030405060708090a0b0c0d0e0f";
        let tag = encode_hex(&key.asked(ASKED, "ark-1", stamp).finalize().into_bytes());
        assert_eq!(encode_hex(key.0.as_slice()), "c8995f12ec374ed76a56986baffbc3ba542fe05a8ae390e79b62877e14b6f9c0");
        assert_eq!(tag, "39f7becb15f2a2d0e9e4c9bd1ba043efdd0e684730f2e872f09beddb21cecb59");
        assert!(key.check(&format!("{stamp}.{tag}"), ASKED, &own(), NOW).is_some());
    }
}
