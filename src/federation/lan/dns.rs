//! The part of DNS messages that multicast DNS needs (RFC 1035, RFC 6762). What is read comes from anybody on the link: every length
//! is checked, and a message that breaks a rule is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The largest message of multicast DNS (RFC 6762 section 17).
pub(super) const MAX_MESSAGE_BYTES: usize = 9000;
/// The most records of one message that are looked at.
const MAX_RECORDS: usize = 256;
const MAX_NAME_BYTES: usize = 255;
const MAX_LABEL_BYTES: usize = 63;
/// What anybody says in the TXT record of one service.
const MAX_TXT_BYTES: usize = 1300;

pub(super) const A: u16 = 1;
pub(super) const PTR: u16 = 12;
pub(super) const TXT: u16 = 16;
pub(super) const AAAA: u16 = 28;
pub(super) const SRV: u16 = 33;
pub(super) const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// In a question: answer me alone. In a record: forget what else you know of this name.
const TOP_BIT: u16 = 0x8000;
const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
/// Operation and error code: both are 0 in multicast DNS.
const CODES: u16 = 0x780F;

/// A name as it goes on the wire: labels with their lengths, in lower case, since names are compared without it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// Of labels; `None` where one is empty or too long.
    pub(super) fn of(labels: &[&str]) -> Option<Self> {
        let mut wire = Vec::new();
        for label in labels {
            let length = u8::try_from(label.len()).ok().filter(|_| (1..=MAX_LABEL_BYTES).contains(&label.len()))?;
            wire.push(length);
            wire.extend(label.to_ascii_lowercase().as_bytes());
        }
        wire.push(0);
        (wire.len() <= MAX_NAME_BYTES).then_some(Self(wire))
    }

    /// Whether it is one label before `parent`.
    pub(super) fn is_child_of(&self, parent: &Self) -> bool {
        let first = self.0.first().map_or(0, |length| usize::from(*length));
        first > 0 && self.0.get(first.saturating_add(1)..) == Some(parent.0.as_slice())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Ptr(Name),
    Srv { port: u16, target: Name },
    Txt(Vec<Vec<u8>>),
    Address(IpAddr),
}

impl Data {
    const fn kind(&self) -> u16 {
        match self {
            Self::Ptr(_) => PTR,
            Self::Srv { .. } => SRV,
            Self::Txt(_) => TXT,
            Self::Address(IpAddr::V4(_)) => A,
            Self::Address(IpAddr::V6(_)) => AAAA,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) ttl_seconds: u32,
    /// Whether only its sender has records of this name and kind.
    pub(super) unique: bool,
    pub(super) data: Data,
}

/// A message: of records only the kinds that we know, from the sections of answers and additional records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) response: bool,
    pub(super) questions: Vec<Question>,
    pub(super) records: Vec<Record>,
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.message.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        let mut wire = Vec::new();
        let mut part = Reader { message: self.message, at: self.at };
        let mut begin = self.at;
        let mut end = None;
        loop {
            let length = part.u8()?;
            match length {
                0 => break,
                1..=63 => {
                    wire.push(length);
                    wire.extend(part.take(usize::from(length))?.to_ascii_lowercase());
                }
                0xC0.. => {
                    let target = usize::from(length & 0x3F) << 8 | usize::from(part.u8()?);
                    end.get_or_insert(part.at);
                    // Only ever further back, so that it comes to an end.
                    if target >= begin {
                        return None;
                    }
                    (begin, part.at) = (target, target);
                }
                _ => return None,
            }
            if wire.len() >= MAX_NAME_BYTES {
                return None;
            }
        }
        wire.push(0);
        self.at = end.unwrap_or(part.at);
        Some(Name(wire))
    }

    fn question(&mut self) -> Option<Question> {
        let name = self.name()?;
        let kind = self.u16()?;
        let _class = self.u16()?;
        Some(Question { name, kind })
    }

    /// The outer `None`: the message is broken; the inner one: nothing for us.
    fn record(&mut self) -> Option<Option<Record>> {
        let name = self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        let ttl_seconds = self.u32()?;
        let length = usize::from(self.u16()?);
        let begin = self.at;
        let content = self.take(length)?;
        // Names within it may point back into the whole message.
        let mut within = Reader { message: self.message.get(..self.at)?, at: begin };
        let data = match kind {
            PTR => Data::Ptr(within.name()?),
            SRV => {
                let _priority_and_weight = within.u32()?;
                Data::Srv { port: within.u16()?, target: within.name()? }
            }
            TXT => Data::Txt(strings(content)?),
            A => Data::Address(Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?).into()),
            AAAA => Data::Address(Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?).into()),
            _ => return Some(None),
        };
        let unique = class & TOP_BIT != 0;
        Some((class & !TOP_BIT == INTERNET).then_some(Record { name, ttl_seconds, unique, data }))
    }
}

fn strings(mut content: &[u8]) -> Option<Vec<Vec<u8>>> {
    if content.len() > MAX_TXT_BYTES {
        return None;
    }
    let mut strings = Vec::new();
    while let Some((length, rest)) = content.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(*length))?;
        strings.push(string.to_owned());
        content = rest;
    }
    Some(strings)
}

impl Message {
    /// Reads a message; `None` where it is not one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { message: bytes, at: 0 };
        let id = reader.u16()?;
        let flags = reader.u16()?;
        if bytes.len() > MAX_MESSAGE_BYTES || flags & CODES != 0 {
            return None;
        }
        let [questions, answers, authorities, additional] =
            [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?].map(usize::from);
        if questions.saturating_add(answers).saturating_add(authorities).saturating_add(additional) > MAX_RECORDS {
            return None;
        }
        let questions = (0..questions).map(|_| reader.question()).collect::<Option<_>>()?;
        let mut records = Vec::new();
        for nth in 0..answers.saturating_add(authorities).saturating_add(additional) {
            // What somebody would like to be true is in the second section.
            let wished = (answers..answers.saturating_add(authorities)).contains(&nth);
            records.extend(reader.record()?.filter(|_| !wished));
        }
        Some(Self { id, response: flags & RESPONSE != 0, questions, records })
    }

    /// As it goes on the wire, without compression: ours are short.
    pub(super) fn write(&self) -> Vec<u8> {
        let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes();
        let flags = if self.response { RESPONSE | AUTHORITATIVE } else { 0 };
        let mut out = Vec::new();
        out.extend(self.id.to_be_bytes());
        out.extend(flags.to_be_bytes());
        out.extend(count(self.questions.len()));
        out.extend(count(self.records.len()));
        out.extend([0; 4]);
        for question in &self.questions {
            out.extend(&question.name.0);
            out.extend(question.kind.to_be_bytes());
            out.extend(INTERNET.to_be_bytes());
        }
        for record in &self.records {
            out.extend(&record.name.0);
            out.extend(record.data.kind().to_be_bytes());
            let class = if record.unique { INTERNET | TOP_BIT } else { INTERNET };
            out.extend(class.to_be_bytes());
            out.extend(record.ttl_seconds.to_be_bytes());
            let content = content(&record.data);
            out.extend(count(content.len()));
            out.extend(content);
        }
        out
    }
}

fn content(data: &Data) -> Vec<u8> {
    match data {
        Data::Ptr(name) => name.0.clone(),
        Data::Srv { port, target } => [&[0; 4], port.to_be_bytes().as_slice(), &target.0].concat(),
        Data::Txt(strings) => {
            let string = |string: &Vec<u8>| {
                let length = u8::try_from(string.len()).unwrap_or(u8::MAX);
                [&[length], string.get(..usize::from(length)).unwrap_or_default()].concat()
            };
            strings.iter().flat_map(string).collect()
        }
        Data::Address(IpAddr::V4(address)) => address.octets().to_vec(),
        Data::Address(IpAddr::V6(address)) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::of(&text.split('.').collect::<Vec<_>>()).unwrap()
    }

    fn example() -> Message {
        let record = |name: Name, data| Record { name, ttl_seconds: 120, unique: true, data };
        let service = name("_ark-lattice._tcp.local");
        let instance = name("ark-1._ark-lattice._tcp.local");
        Message {
            id: 7,
            response: true,
            questions: vec![Question { name: service.clone(), kind: PTR }],
            records: vec![
                Record { unique: false, ..record(service, Data::Ptr(instance.clone())) },
                record(instance.clone(), Data::Srv { port: 9001, target: name("ark-1.local") }),
                record(instance, Data::Txt(vec![b"v=1".to_vec(), Vec::new(), vec![0xFF; 255]])),
                record(name("ark-1.local"), Data::Address("192.168.1.7".parse().unwrap())),
                record(name("ark-1.local"), Data::Address("fd00::7".parse().unwrap())),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Message::read(&example().write()), Some(example()));
    }

    #[test]
    fn compressed_names_are_read_and_loops_are_not() {
        // "_x.local" at 12, then a PTR to "a" before it, as other implementations write it.
        let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend(b"\x02_X\x05local\x00\x00\x0c\x00\x01\x00\x00\x00\x78\x00\x04\x01a\xc0\x0c");
        let message = Message::read(&bytes).unwrap();
        assert_eq!(message.records[0].name, name("_x.local"));
        assert_eq!(message.records[0].data, Data::Ptr(name("a._x.local")));
        let at = bytes.len() - 2;
        // To itself, forward, and to the name that it ends.
        for target in [at, at + 1, at - 2, 0x3FFF] {
            let target = u16::try_from(target).unwrap() | 0xC000;
            bytes[at..].copy_from_slice(&target.to_be_bytes());
            assert_eq!(Message::read(&bytes), None, "{target:x}");
        }
    }

    #[test]
    fn names_have_bounds() {
        assert!(Name::of(&["a".repeat(64).as_str()]).is_none() && Name::of(&["a", ""]).is_none());
        assert!(Name::of(&["a".repeat(63).as_str(); 4]).is_none(), "257 bytes");
        let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for _ in 0..4 {
            bytes.push(63);
            bytes.extend([b'a'; 63]);
        }
        bytes.extend([0, 0, 12, 0, 1]);
        assert_eq!(Message::read(&bytes), None);
        let service = name("_ark-lattice._tcp.local");
        assert!(name("one._ark-lattice._tcp.local").is_child_of(&service));
        for other in ["_ark-lattice._tcp.local", "a.b._ark-lattice._tcp.local", "x._tcp.local"] {
            assert!(!name(other).is_child_of(&service), "{other}");
        }
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_none() {
        let whole = example().write();
        for length in 0..whole.len() {
            assert_eq!(Message::read(&whole[..length]), None, "{length}");
        }
        let mut counts = whole;
        counts[6] = 0xFF;
        assert_eq!(Message::read(&counts), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(message) = Message::read(&bytes) {
                prop_assert!(message.records.len() <= MAX_RECORDS);
            }
        }

        #[test]
        fn a_message_with_any_byte_changed_is_read_or_refused(at in 0_usize..300, byte in any::<u8>()) {
            let mut bytes = example().write();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(message) = Message::read(&bytes) {
                prop_assert_eq!(Message::read(&message.write()).map(|it| it.records), Some(message.records));
            }
        }
    }
}
