//! How pins and entries stand in the file. Each row starts with a version byte; a row that does not fit is refused, not guessed.
//! A pin carries a checksum with its id in it: redb looks at its own checksums only after a crash, and a binding that a bad disk
//! changed must not pass for one.

use crate::{
    trust::{KeyLine, Pin},
    types::{PublicKey, Timestamp},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Version of both row forms.
const VERSION: u8 = 1;
const HAS_LAST_UPDATED: u8 = 1;
const HAS_SEQ: u8 = 2;
const HAS_INSTANCE_TYPE: u8 = 1;

/// What is written of a live entry beside its pin, its envelope and its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub(super) instance_type: Option<Box<str>>,
    pub(super) summary: Bytes,
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The first bytes of SHA-256 over the row and the id it belongs to.
fn checksum(row: &[u8], id: &str) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::new().chain_update(row).chain_update(id).finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

/// Version, flags, key, digest, `last_updated` (µs), `seq`, checksum; numbers big-endian, zero where the flag is not set.
pub(super) fn encode_pin(id: &str, pin: &Pin) -> Vec<u8> {
    let mut flags = 0;
    if pin.last_updated.is_some() {
        flags |= HAS_LAST_UPDATED;
    }
    if pin.seq.is_some() {
        flags |= HAS_SEQ;
    }
    let mut out = Vec::with_capacity(90);
    out.extend_from_slice(&[VERSION, flags]);
    out.extend_from_slice(pin.public_key.as_bytes());
    out.extend_from_slice(&pin.digest);
    out.extend_from_slice(&pin.last_updated.map_or(0, Timestamp::micros).to_be_bytes());
    out.extend_from_slice(&pin.seq.unwrap_or(0).to_be_bytes());
    let sum = checksum(&out, id);
    out.extend_from_slice(&sum);
    out
}

/// `None` for every row that [`encode_pin`] does not write for this id.
pub(super) fn decode_pin(id: &str, row: &[u8]) -> Option<Pin> {
    let (mut row, sum) = row.split_last_chunk::<8>()?;
    if checksum(row, id) != *sum {
        return None;
    }
    let [version, flags] = take(&mut row)?;
    let public_key = PublicKey::from_bytes(take(&mut row)?);
    let digest = take(&mut row)?;
    let last_updated = Timestamp::from_micros(i64::from_be_bytes(take(&mut row)?));
    let seq = u64::from_be_bytes(take(&mut row)?);
    if version != VERSION || flags & !(HAS_LAST_UPDATED | HAS_SEQ) != 0 || !row.is_empty() {
        return None;
    }
    Some(Pin {
        public_key,
        last_updated: (flags & HAS_LAST_UPDATED != 0).then_some(last_updated),
        seq: (flags & HAS_SEQ != 0).then_some(seq),
        digest,
    })
}

/// The line's text and its checksum.
pub(super) fn encode_line(id: &str, line: &KeyLine) -> Vec<u8> {
    let mut out = line.to_row().into_bytes();
    let sum = checksum(&out, id);
    out.extend_from_slice(&sum);
    out
}

/// `None` for every row that [`encode_line`] does not write for this id.
pub(super) fn decode_line(id: &str, row: &[u8]) -> Option<KeyLine> {
    let (row, sum) = row.split_last_chunk::<8>()?;
    if checksum(row, id) != *sum {
        return None;
    }
    KeyLine::from_row(std::str::from_utf8(row).ok()?)
}

/// Version, flags, length of `instance_type` (u32, big-endian), `instance_type`, summary to the end.
pub(super) fn encode_entry(entry: &EntryRow) -> Vec<u8> {
    let kind = entry.instance_type.as_deref().unwrap_or_default();
    let flags = if entry.instance_type.is_some() { HAS_INSTANCE_TYPE } else { 0 };
    let mut out = Vec::with_capacity(6 + kind.len() + entry.summary.len());
    out.extend_from_slice(&[VERSION, flags]);
    // A manifest's fields are bounded far below 4 GiB (Limits::manifest_field_bytes).
    out.extend_from_slice(&u32::try_from(kind.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(&entry.summary);
    out
}

/// `None` for every row that [`encode_entry`] does not write.
pub(super) fn decode_entry(mut row: &[u8]) -> Option<EntryRow> {
    let [version, flags] = take(&mut row)?;
    let length = usize::try_from(u32::from_be_bytes(take(&mut row)?)).ok()?;
    let (kind, summary) = row.split_at_checked(length)?;
    let kind = std::str::from_utf8(kind).ok()?;
    if version != VERSION || flags & !HAS_INSTANCE_TYPE != 0 {
        return None;
    }
    let instance_type = (flags & HAS_INSTANCE_TYPE != 0).then(|| Box::from(kind));
    Some(EntryRow { instance_type, summary: Bytes::copy_from_slice(summary) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pin_is_read_as_it_was_written(
            key: [u8; 32], digest: [u8; 32], micros in proptest::option::of(any::<i64>()), seq in proptest::option::of(any::<u64>())
        ) {
            let pin = Pin {
                public_key: PublicKey::from_bytes(key), last_updated: micros.map(Timestamp::from_micros), seq, digest
            };
            prop_assert_eq!(decode_pin("a", &encode_pin("a", &pin)), Some(pin));
        }

        #[test]
        fn an_entry_is_read_as_it_was_written(kind in proptest::option::of(".{0,40}"), summary: Vec<u8>) {
            let entry = EntryRow { instance_type: kind.map(String::into_boxed_str), summary: summary.into() };
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Some(entry));
        }

        #[test]
        fn no_row_makes_the_readers_panic(row: Vec<u8>) {
            let _ = (decode_pin("a", &row), decode_entry(&row));
        }
    }

    #[test]
    fn a_pin_that_was_changed_in_any_byte_or_moved_to_another_id_is_refused() {
        let pin = Pin { public_key: PublicKey::from_bytes([1; 32]), last_updated: None, seq: None, digest: [2; 32] };
        let row = encode_pin("a", &pin);
        assert!(decode_pin("a", &row).is_some());
        assert!(decode_pin("b", &row).is_none());
        for at in 0..row.len() {
            let mut changed = row.clone();
            changed[at] ^= 1;
            assert!(decode_pin("a", &changed).is_none(), "byte {at}");
            assert!(decode_pin("a", &row[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn rows_of_another_version_are_refused_even_with_a_right_checksum() {
        let pin = Pin { public_key: PublicKey::from_bytes([1; 32]), last_updated: None, seq: None, digest: [2; 32] };
        let mut row = encode_pin("a", &pin);
        row.truncate(row.len() - 8);
        row[0] = VERSION + 1;
        let sum = checksum(&row, "a");
        row.extend_from_slice(&sum);
        assert!(decode_pin("a", &row).is_none());
    }
}
