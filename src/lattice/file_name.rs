//! Which file a node is in: id to file name, and back (DESIGN 4.8).
//!
//! | id | file |
//! |---|---|
//! | `[A-Za-z0-9._:-]+`, not `manifest`, no leading dot | `{id}.json` |
//! | any other | percent-encoded: each byte outside that set, a leading dot, the `m` of `manifest` |
//! | encoded longer than 255 bytes with `.json` | `{cut}~{64 hex of SHA-256(id)}.json` |
//! | differs by case only from one that has the name, on a file system that ignores case | `{encoded, cut where that is too long}~{16 hex}.json` |
//!
//! `~` is outside the set, so the last two cannot be another id's plain name.

use crate::types::{ContentHash, NodeId};
use std::borrow::Cow;

/// The longest file name that common file systems take, bytes.
const MAX_NAME_BYTES: usize = 255;
const EXTENSION: &str = ".json";
/// The file that is ours to write and never a node.
pub(super) const MANIFEST: &str = "manifest.json";

/// Whether two names that differ by ASCII case are two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaseSensitivity {
    /// Find out when the directory is opened.
    #[default]
    Probe,
    /// They are.
    Sensitive,
    /// They are one.
    Insensitive,
}

/// Could a file of this name be a node? Dot files, other extensions and the manifest are none of ours.
pub(super) fn is_candidate(name: &str) -> bool {
    name.ends_with(EXTENSION) && !name.starts_with('.') && name != MANIFEST
}

/// The name that a node has unless another one got in its way.
pub(super) fn plain(id: &NodeId) -> String {
    let encoded = encode(id.as_str());
    if encoded.len() + EXTENSION.len() <= MAX_NAME_BYTES { encoded + EXTENSION } else { hashed(id, &encoded, 64) }
}

/// Is this [`plain`] of the id?
pub(super) fn is_plain(name: &str, id: &NodeId) -> bool {
    plain_stem(name).is_some_and(|stem| stem == id.as_str()) || name == plain(id)
}

/// The name for a node whose plain name is another's on a file system that ignores case.
pub(super) fn second(id: &NodeId) -> String {
    let encoded = encode(id.as_str());
    // A plain name that is cut carries a hash already, which no other id's has.
    if encoded.len() + EXTENSION.len() <= MAX_NAME_BYTES { hashed(id, &encoded, 16) } else { plain(id) }
}

/// Is this one of the names that a node with this id may have?
pub(super) fn is_valid(name: &str, id: &NodeId) -> bool {
    name == plain(id) || name == second(id)
}

/// The id whose plain name this is, where that can be told from the name alone: not for names with a hash.
pub(super) fn plain_id(name: &str) -> Option<NodeId> {
    let stem = name.strip_suffix(EXTENSION)?;
    let decoded = decode(stem)?;
    NodeId::parse(&decoded).ok().filter(|id| plain(id) == name)
}

/// The text of [`plain_id`]; without an allocation where nothing is encoded in the name.
pub(super) fn plain_stem(name: &str) -> Option<Cow<'_, str>> {
    let stem = name.strip_suffix(EXTENSION)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    let is_plain = stem.bytes().all(plain) && !stem.starts_with('.') && name.len() <= MAX_NAME_BYTES;
    if is_plain && stem != "manifest" && !stem.is_empty() {
        return Some(Cow::Borrowed(stem));
    }
    plain_id(name).map(|id| Cow::Owned(id.as_str().to_owned()))
}

fn encode(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for (at, byte) in id.bytes().enumerate() {
        let special = at == 0 && (byte == b'.' || id == "manifest");
        if !special && (byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-')) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.extend(char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()));
            }
        }
    }
    out
}

fn decode(stem: &str) -> Option<Cow<'_, str>> {
    if !stem.contains('%') {
        return Some(Cow::Borrowed(stem));
    }
    let mut out = Vec::with_capacity(stem.len());
    let mut bytes = stem.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_value(bytes.next()?)? << 4 | hex_value(bytes.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn hex_value(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

fn hashed(id: &NodeId, encoded: &str, digits: usize) -> String {
    let digest = ContentHash::of(id.as_str().as_bytes()).to_hex();
    let digest = digest.get(..digits).unwrap_or(&digest);
    let room = MAX_NAME_BYTES - EXTENSION.len() - 1 - digest.len();
    let mut cut = room.min(encoded.len());
    // An escape stays whole: it begins at most two bytes before the cut.
    if let Some(head) = encoded.get(..cut)
        && let Some(percent) = head.rfind('%')
        && cut < encoded.len()
        && percent + 3 > cut
    {
        cut = percent;
    }
    let prefix = encoded.get(..cut).unwrap_or_default();
    format!("{prefix}~{digest}{EXTENSION}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn id(text: &str) -> NodeId {
        NodeId::parse(text).unwrap()
    }

    #[test]
    fn ids_map_to_the_names_that_the_design_says() {
        for (text, name) in [
            ("note-1", "note-1.json"),
            ("a:b_c.d", "a:b_c.d.json"),
            ("manifest", "%6Danifest.json"),
            ("manifest.json", "manifest.json.json"),
            ("Manifest", "Manifest.json"),
            (".hidden", "%2Ehidden.json"),
            ("..", "%2E..json"),
            (".", "%2E.json"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.json"),
            ("a/b", "a%2Fb.json"),
            ("é", "%C3%A9.json"),
            ("a~b%", "a%7Eb%25.json"),
            ("a b\\", "a%20b%5C.json"),
        ] {
            assert_eq!(plain(&id(text)), name);
            assert_eq!(plain_id(name), Some(id(text)), "{name}");
        }
    }

    #[test]
    fn long_ids_are_cut_between_escapes_and_carry_their_hash() {
        let long = id(&"é".repeat(256));
        let name = plain(&long);
        assert!(name.len() <= 255, "{}", name.len());
        let (head, tail) = name.split_once('~').unwrap();
        assert_eq!(tail.len(), 64 + 5);
        assert_eq!(head.len() % 3, 0);
        assert_eq!(plain_id(&name), None);
        assert!(is_valid(&name, &long));
        let fits = id(&"a".repeat(250));
        assert_eq!(plain(&fits).len(), 255);
        assert!(plain(&id(&"a".repeat(251))).contains('~'));
        assert!(second(&fits).len() <= 255);
        for length in 200..=256 {
            let (small, large) = (id(&"a".repeat(length)), id(&"A".repeat(length)));
            let (first, second) = (plain(&large).to_ascii_lowercase(), second(&small));
            assert!(second.len() <= 255 && is_valid(&second, &small));
            assert_ne!(first, second.to_ascii_lowercase(), "{length} letters: one would overwrite the other");
        }
    }

    #[test]
    fn only_a_names_own_spelling_decodes() {
        for name in
            ["%61.json", "a%2fb.json", "%2.json", "a%FF.json", "a~0123456789abcdef.json", "a.txt", ".json", "é.json"]
        {
            assert_eq!(plain_id(name), None, "{name}");
        }
        assert!(!is_valid("A.json", &id("a")));
    }

    #[test]
    fn files_that_are_none_of_ours_are_no_candidates() {
        for name in ["manifest.json", ".a.json", ".ark-1-2.tmp", "a.json~", "a.txt", "json"] {
            assert!(!is_candidate(name), "{name}");
        }
        assert!(is_candidate("a.json") && is_candidate("%6Danifest.json"));
    }

    proptest! {
        #[test]
        fn no_two_ids_share_a_name_and_no_name_leaves_the_directory(
            ids in proptest::collection::vec("[\\PC]{1,256}", 1..20)
        ) {
            let mut seen = HashMap::new();
            for id in ids.iter().filter_map(|text| NodeId::parse(text).ok()) {
                for name in [plain(&id), second(&id)] {
                    prop_assert!(name.len() <= 255 && is_candidate(&name) && !name.contains('/'));
                    let other = seen.insert(name, id.clone());
                    prop_assert!(other.is_none_or(|other| other == id));
                }
                let name = plain(&id);
                prop_assert!(name.contains('~') || plain_id(&name).as_ref() == Some(&id));
            }
        }
    }
}
