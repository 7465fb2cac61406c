//! What an instance says of itself on the link, and what it answers (RFC 6763).

use super::dns::{A, AAAA, ANY, Data, Message, Name, PTR, Question, Record, SRV, TXT};
use crate::{
    guard::NetworkKey,
    types::{BasePath, PeerId, PublicKey, Timestamp},
};
use sha2::{Digest, Sha256};
use std::{fmt::Write, net::IpAddr};

const VERSION: &str = "1";
/// RFC 6762 section 10: what names a machine's addresses lives short, the rest long.
const SHORT_TTL_SECONDS: u32 = 120;
const LONG_TTL_SECONDS: u32 = 4500;
/// The most that somebody who knows no multicast may remember it for (RFC 6762 section 6.7).
const LEGACY_TTL_SECONDS: u32 = 10;
const MAX_STRING_BYTES: usize = 255;
const FINGERPRINT_BYTES: usize = 8;

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) node_id: Option<PeerId>,
    pub(super) public_key: Option<PublicKey>,
    pub(super) instance_type: Option<&'static str>,
    pub(super) base_path: BasePath,
    pub(super) tls: bool,
    /// What it shows of its network.
    pub(super) network: Option<String>,
}

/// `local`, `cloud` or `pi`; of anything else nothing.
pub(super) fn known_type(text: &str) -> Option<&'static str> {
    ["local", "cloud", "pi"].into_iter().find(|known| *known == text)
}

impl Description {
    /// From the strings of a TXT record; `None` where they are not of our version, or break a rule.
    pub(super) fn read(strings: &[Vec<u8>]) -> Option<Self> {
        let value = |key: &str| {
            strings.iter().find_map(|string| {
                let (name, value) = std::str::from_utf8(string).ok()?.split_once('=')?;
                name.eq_ignore_ascii_case(key).then_some(value)
            })
        };
        if value("v") != Some(VERSION) {
            return None;
        }
        Some(Self {
            node_id: value("id").map(PeerId::parse).transpose().ok()?,
            public_key: value("key").map(PublicKey::parse).transpose().ok()?,
            instance_type: value("type").and_then(known_type),
            base_path: BasePath::parse(value("path").unwrap_or_default()).ok()?,
            tls: value("tls") == Some("1"),
            network: value("net").map(str::to_owned),
        })
    }

    /// Whether it is of this network; without one, of none.
    pub(super) fn is_of(&self, network: Option<&NetworkKey>, now: Timestamp) -> bool {
        match (network, &self.network) {
            (Some(network), Some(shown)) => network.is_on_link(shown, self.node_id.as_ref(), self.public_key, now),
            (network, shown) => network.is_none() && shown.is_none(),
        }
    }

    fn strings(&self) -> Vec<Vec<u8>> {
        let mut strings = vec![format!("v={VERSION}")];
        strings.extend(self.node_id.as_ref().map(|id| format!("id={id}")));
        strings.extend(self.public_key.map(|key| format!("key={key}")));
        strings.extend(self.instance_type.map(|word| format!("type={word}")));
        if !self.base_path.as_str().is_empty() {
            strings.push(format!("path={}", self.base_path.as_str()));
        }
        if self.tls {
            strings.push("tls=1".to_owned());
        }
        strings.extend(self.network.as_ref().map(|shown| format!("net={shown}")));
        // A longer id is told by the head.
        strings.retain(|string| string.len() <= MAX_STRING_BYTES);
        strings.into_iter().map(String::into_bytes).collect()
    }
}

/// The name under which instances are looked for.
pub(super) fn service_type() -> Option<Name> {
    Name::of(&["_ark-lattice", "_tcp", "local"])
}

/// The name under which kinds of services are looked for.
fn kinds() -> Option<Name> {
    Name::of(&["_services", "_dns-sd", "_udp", "local"])
}

/// Our records.
#[derive(Debug, Clone)]
pub(super) struct Announcement {
    pub(super) instance: Name,
    service: Name,
    kinds: Name,
    host: Name,
    port: u16,
    strings: Vec<Vec<u8>>,
}

/// What is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Who we are.
    Us,
    /// Which kinds of services there are.
    Kinds,
}

impl Announcement {
    /// Names hold a part of the key's hash: nobody else on the link has them, so they need not be tried first (RFC 6762 section 8).
    pub(super) fn of(description: &Description, key: &PublicKey, port: u16) -> Option<Self> {
        let mut label = "ark-".to_owned();
        for byte in Sha256::digest(key.as_bytes()).iter().take(FINGERPRINT_BYTES) {
            let _infallible = write!(label, "{byte:02x}");
        }
        Some(Self {
            instance: Name::of(&[&label, "_ark-lattice", "_tcp", "local"])?,
            service: service_type()?,
            kinds: kinds()?,
            host: Name::of(&[&label, "local"])?,
            port,
            strings: description.strings(),
        })
    }

    /// The same with what a network shows at this time.
    pub(super) fn of_network(&self, network: &NetworkKey, now: Timestamp) -> Self {
        let mut tagged = self.clone();
        // What is told, which leaves out an id that is too long.
        if let Some(told) = Description::read(&self.strings) {
            let shown = network.link_tag(told.node_id.as_ref(), told.public_key, now);
            tagged.strings = Description { network: Some(shown), ..told }.strings();
        }
        tagged
    }

    /// All records, for whoever listens; with these addresses.
    pub(super) fn told(&self, addresses: &[IpAddr]) -> Message {
        Message { response: true, records: self.records(addresses), ..Message::default() }
    }

    /// That we are gone.
    pub(super) fn withdrawn(&self, addresses: &[IpAddr]) -> Message {
        let mut message = self.told(addresses);
        message.records.iter_mut().for_each(|record| record.ttl_seconds = 0);
        message
    }

    /// Which kinds of services there are, as far as it is ours to say.
    pub(super) fn kinds_told(&self) -> Message {
        let record = Record {
            name: self.kinds.clone(),
            ttl_seconds: LONG_TTL_SECONDS,
            unique: false,
            data: Data::Ptr(self.service.clone()),
        };
        Message { response: true, records: vec![record], ..Message::default() }
    }

    /// For somebody who asked as one asks a DNS server: with his question and number, and nothing that he does not know.
    pub(super) fn told_to_one(&self, asked: &Message, what: Asked, addresses: &[IpAddr]) -> Message {
        let mut message = if what == Asked::Kinds { self.kinds_told() } else { self.told(addresses) };
        (message.id, message.questions) = (asked.id, asked.questions.clone());
        for record in &mut message.records {
            record.unique = false;
            record.ttl_seconds = record.ttl_seconds.min(LEGACY_TTL_SECONDS);
        }
        message
    }

    fn records(&self, addresses: &[IpAddr]) -> Vec<Record> {
        let record = |name: &Name, ttl_seconds, data| Record { name: name.clone(), ttl_seconds, unique: true, data };
        let pointer = record(&self.service, LONG_TTL_SECONDS, Data::Ptr(self.instance.clone()));
        let server = Data::Srv { port: self.port, target: self.host.clone() };
        let mut records = vec![
            // Others have this name too.
            Record { unique: false, ..pointer },
            record(&self.instance, SHORT_TTL_SECONDS, server),
            record(&self.instance, LONG_TTL_SECONDS, Data::Txt(self.strings.clone())),
        ];
        records.extend(addresses.iter().map(|it| record(&self.host, SHORT_TTL_SECONDS, Data::Address(*it))));
        records
    }

    /// What of a question is ours to answer.
    pub(super) fn asked(&self, message: &Message) -> Option<Asked> {
        if message.response {
            return None;
        }
        // Who says that he knows us already, and for long, need not be told (RFC 6762 section 7.1).
        let known = message.records.iter().any(|record| {
            record.ttl_seconds >= LONG_TTL_SECONDS / 2 && record.data == Data::Ptr(self.instance.clone())
        });
        let ours = |question: &Question| {
            let any = |kinds: &[u16]| question.kind == ANY || kinds.contains(&question.kind);
            if question.name == self.service {
                any(&[PTR]) && !known
            } else if question.name == self.instance {
                any(&[SRV, TXT])
            } else {
                question.name == self.host && any(&[A, AAAA])
            }
        };
        if message.questions.iter().any(ours) {
            return Some(Asked::Us);
        }
        let kinds = |question: &Question| question.name == self.kinds && matches!(question.kind, PTR | ANY);
        message.questions.iter().any(kinds).then_some(Asked::Kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            node_id: Some(PeerId::parse("ark-1").unwrap()),
            public_key: Some(PublicKey::from_bytes([7; 32])),
            instance_type: Some("pi"),
            base_path: BasePath::parse("/ark").unwrap(),
            tls: true,
            network: None,
        }
    }

    fn announcement() -> Announcement {
        Announcement::of(&description(), &PublicKey::from_bytes([7; 32]), 9001).unwrap()
    }

    fn question(name: &Name, kind: u16) -> Message {
        let questions = vec![Question { name: name.clone(), kind }];
        Message { questions, ..Message::default() }
    }

    #[test]
    fn what_is_said_is_understood() {
        assert_eq!(Description::read(&description().strings()), Some(description()));
        let least = Description {
            node_id: None,
            public_key: None,
            instance_type: None,
            base_path: BasePath::default(),
            tls: false,
            network: None,
        };
        assert_eq!(Description::read(&[b"V=1".to_vec()]), Some(least));
    }

    #[test]
    fn what_breaks_a_rule_is_not_taken_at_all() {
        for bad in ["id=a\u{1b}[2Jb", "id=", "key=short", "path=//evil.example", "path=/a?b=c", "path=/.."] {
            assert_eq!(Description::read(&[b"v=1".to_vec(), bad.as_bytes().to_vec()]), None, "{bad:?}");
        }
        assert_eq!(Description::read(&[b"v=2".to_vec()]), None);
        assert_eq!(Description::read(&[]), None);
        let odd = Description::read(&[b"v=1".to_vec(), b"type=\x1b[31m".to_vec(), vec![0xFF; 9]]).unwrap();
        assert_eq!(odd.instance_type, None, "a type that is none is left out");
    }

    #[test]
    fn networks_with_keys_see_only_themselves() {
        let (one, other) = (NetworkKey::derive("one key of a network"), NetworkKey::derive("the key of another"));
        let now = Timestamp::from_seconds(1_767_225_600);
        let told = Description::read(&announcement().of_network(&one, now).strings).unwrap();
        assert!(told.is_of(Some(&one), now) && !told.is_of(Some(&other), now) && !told.is_of(None, now));
        let copied = Description { node_id: Some(PeerId::parse("ark-2").unwrap()), ..told };
        assert!(!copied.is_of(Some(&one), now), "of somebody else");
        assert!(description().is_of(None, now) && !description().is_of(Some(&one), now));
    }

    #[test]
    fn ours_is_answered_and_nothing_else() {
        let ours = announcement();
        for (name, kind) in [(&ours.service, PTR), (&ours.instance, SRV), (&ours.instance, ANY), (&ours.host, A)] {
            assert_eq!(ours.asked(&question(name, kind)), Some(Asked::Us), "{name:?} {kind}");
        }
        assert_eq!(ours.asked(&question(&ours.kinds, PTR)), Some(Asked::Kinds));
        let other = Name::of(&["_http", "_tcp", "local"]).unwrap();
        for (name, kind) in [(&other, PTR), (&ours.service, SRV), (&ours.host, TXT)] {
            assert_eq!(ours.asked(&question(name, kind)), None, "{name:?} {kind}");
        }
        assert_eq!(ours.asked(&Message { response: true, ..question(&ours.service, PTR) }), None);
    }

    #[test]
    fn who_knows_us_is_not_told_again() {
        let ours = announcement();
        let mut message = question(&ours.service, PTR);
        message.records = ours.told(&[]).records;
        assert_eq!(ours.asked(&message), None);
        message.records[0].ttl_seconds = 60;
        assert_eq!(ours.asked(&message), Some(Asked::Us), "it forgets us soon");
    }

    #[test]
    fn a_farewell_takes_back_everything_and_a_single_asker_gets_his_number() {
        let ours = announcement();
        let addresses = ["192.168.1.7".parse().unwrap()];
        assert!(ours.withdrawn(&addresses).records.iter().all(|record| record.ttl_seconds == 0));
        assert_eq!(ours.told(&addresses).records.len(), 4);
        let asked = Message { id: 77, ..question(&ours.service, PTR) };
        let told = ours.told_to_one(&asked, Asked::Us, &addresses);
        assert_eq!((told.id, &told.questions), (77, &asked.questions));
        assert!(told.records.iter().all(|record| record.ttl_seconds <= 10 && !record.unique));
    }
}
