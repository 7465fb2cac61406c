//! How pins and entries stand in the file. Each row starts with a version byte; a row that does not fit is refused, not guessed.

use crate::{
    trust::Pin,
    types::{PublicKey, Timestamp},
};
use bytes::Bytes;

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

/// Version, flags, key, digest, `last_updated` (µs), `seq`; numbers big-endian, zero where the flag is not set.
pub(super) fn encode_pin(pin: &Pin) -> Vec<u8> {
    let mut flags = 0;
    if pin.last_updated.is_some() {
        flags |= HAS_LAST_UPDATED;
    }
    if pin.seq.is_some() {
        flags |= HAS_SEQ;
    }
    let mut out = Vec::with_capacity(82);
    out.extend_from_slice(&[VERSION, flags]);
    out.extend_from_slice(pin.public_key.as_bytes());
    out.extend_from_slice(&pin.digest);
    out.extend_from_slice(&pin.last_updated.map_or(0, Timestamp::micros).to_be_bytes());
    out.extend_from_slice(&pin.seq.unwrap_or(0).to_be_bytes());
    out
}

/// `None` for every row that [`encode_pin`] does not write.
pub(super) fn decode_pin(mut row: &[u8]) -> Option<Pin> {
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
            prop_assert_eq!(decode_pin(&encode_pin(&pin)), Some(pin));
        }

        #[test]
        fn an_entry_is_read_as_it_was_written(kind in proptest::option::of(".{0,40}"), summary: Vec<u8>) {
            let entry = EntryRow { instance_type: kind.map(String::into_boxed_str), summary: summary.into() };
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Some(entry));
        }

        #[test]
        fn no_row_makes_the_readers_panic(row: Vec<u8>) {
            let _ = (decode_pin(&row), decode_entry(&row));
        }
    }

    #[test]
    fn rows_of_another_version_or_length_are_refused() {
        let pin = Pin { public_key: PublicKey::from_bytes([1; 32]), last_updated: None, seq: None, digest: [2; 32] };
        let mut row = encode_pin(&pin);
        assert!(decode_pin(&row[..row.len() - 1]).is_none());
        row.push(0);
        assert!(decode_pin(&row).is_none());
        row.pop();
        row[0] = 2;
        assert!(decode_pin(&row).is_none());
    }
}
