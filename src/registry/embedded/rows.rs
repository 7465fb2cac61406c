//! How pins and entries stand in the file. Each pin starts with a version byte; a row that does not fit is refused, not guessed.
//! A pin carries a checksum with its id in it: redb looks at its own checksums only after a crash, and a binding that a bad disk
//! changed must not pass for one.

use crate::{
    trust::{KeyLine, MAX_SUPERSEDED, Pin},
    types::{PublicKey, Timestamp},
};
use sha2::{Digest, Sha256};

/// Version of a pin's form, of those that neither state `issued_at` nor superseded others.
const VERSION: u8 = 1;
/// Version of the form of the others.
const VERSION_2: u8 = 2;
/// Version, flags, key, digest, `last_updated`, `seq`, checksum.
const PIN_BYTES: usize = 2 + 32 + 32 + 8 + 8 + 8;
/// What version 2 has more: `issued_at`, how many were superseded.
const MORE_BYTES: usize = 8 + 1;
/// What a row takes beside its texts.
const ROW_BYTES: usize = PIN_BYTES + 1 + 8 + 8 + 1 + 4 + 4;
const HAS_LAST_UPDATED: u8 = 1;
const HAS_SEQ: u8 = 2;
const HAS_ISSUED_AT: u8 = 4;
const HAS_INSTANCE_TYPE: u8 = 1;

/// What is written of a live entry beside its pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryRow<'a> {
    pub(super) instance_type: Option<&'a str>,
    pub(super) summary: &'a [u8],
    pub(super) last_seen: Timestamp,
    /// By the wall clock.
    pub(super) expires_at_ms: i64,
    /// As received; `None`: it is so long that it stands in a table of its own.
    pub(super) envelope: Option<&'a [u8]>,
}

/// The first bytes, which are no longer there then.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
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

/// Version, flags, key, digest, `last_updated` (µs), `seq`; of version 2 `issued_at` (µs), a count and so many digests; checksum. Numbers
/// are big-endian, zero where the flag is not set.
fn encode_pin(out: &mut Vec<u8>, id: &str, pin: &Pin) {
    let mut flags = 0;
    if pin.last_updated.is_some() {
        flags |= HAS_LAST_UPDATED;
    }
    if pin.seq.is_some() {
        flags |= HAS_SEQ;
    }
    if pin.issued_at.is_some() {
        flags |= HAS_ISSUED_AT;
    }
    let from = out.len();
    let is_plain = pin.issued_at.is_none() && pin.superseded.is_empty();
    out.extend_from_slice(&[if is_plain { VERSION } else { VERSION_2 }, flags]);
    out.extend_from_slice(pin.public_key.as_bytes());
    out.extend_from_slice(&pin.digest);
    out.extend_from_slice(&pin.last_updated.map_or(0, Timestamp::micros).to_be_bytes());
    out.extend_from_slice(&pin.seq.unwrap_or(0).to_be_bytes());
    if !is_plain {
        let superseded = pin.superseded.get(..MAX_SUPERSEDED).unwrap_or(&pin.superseded);
        out.extend_from_slice(&pin.issued_at.map_or(0, Timestamp::micros).to_be_bytes());
        out.push(u8::try_from(superseded.len()).unwrap_or_default());
        out.extend(superseded.iter().flatten());
    }
    let sum = checksum(out.get(from..).unwrap_or_default(), id);
    out.extend_from_slice(&sum);
}

/// `None` for all that [`encode_pin`] does not write for this id.
fn decode_pin(id: &str, row: &[u8]) -> Option<Pin> {
    let (mut row, sum) = row.split_last_chunk::<8>()?;
    if checksum(row, id) != *sum {
        return None;
    }
    let [version, flags] = take(&mut row)?;
    let public_key = PublicKey::from_bytes(take(&mut row)?);
    let digest = take(&mut row)?;
    let last_updated = Timestamp::from_micros(i64::from_be_bytes(take(&mut row)?));
    let seq = u64::from_be_bytes(take(&mut row)?);
    let (mut issued_at, mut superseded, mut known_flags) = (None, Vec::new(), HAS_LAST_UPDATED | HAS_SEQ);
    if version == VERSION_2 {
        let stated = Timestamp::from_micros(i64::from_be_bytes(take(&mut row)?));
        let [count] = take(&mut row)?;
        for _ in 0..count {
            superseded.push(take(&mut row)?);
        }
        issued_at = (flags & HAS_ISSUED_AT != 0).then_some(stated);
        known_flags |= HAS_ISSUED_AT;
    }
    if !matches!(version, VERSION | VERSION_2) || flags & !known_flags != 0 || !row.is_empty() {
        return None;
    }
    Some(Pin {
        public_key,
        last_updated: (flags & HAS_LAST_UPDATED != 0).then_some(last_updated),
        seq: (flags & HAS_SEQ != 0).then_some(seq),
        digest,
        issued_at,
        superseded,
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

/// How a row goes on after its pin.
const NOTHING: u8 = 0;
const NEAR: u8 = 1;
const FAR: u8 = 2;

/// Appends an id's row: its pin; then, where an entry lives, a kind (1: the envelope is in the row, 2: in the table of its own),
/// `last_seen` (µs), `expires_at` (ms), flags, lengths of `instance_type` and summary (u32), both texts, and the envelope to the end.
/// Numbers are big-endian.
pub(super) fn encode_row(out: &mut Vec<u8>, id: &str, pin: &Pin, entry: Option<&EntryRow<'_>>) {
    encode_pin(out, id, pin);
    let Some(entry) = entry else { return out.push(NOTHING) };
    let is_near = entry.envelope.is_some();
    let kind = entry.instance_type.unwrap_or_default();
    out.push(if is_near { NEAR } else { FAR });
    out.extend_from_slice(&entry.last_seen.micros().to_be_bytes());
    out.extend_from_slice(&entry.expires_at_ms.to_be_bytes());
    out.push(if entry.instance_type.is_some() { HAS_INSTANCE_TYPE } else { 0 });
    for text in [kind.as_bytes(), entry.summary] {
        // A manifest's fields are bounded far below 4 GiB (Limits::manifest_field_bytes).
        out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(entry.summary);
    out.extend_from_slice(entry.envelope.unwrap_or_default());
}

/// A row with its entry, as [`encode_row`] writes it.
pub(super) fn encode_entry(id: &str, pin: &Pin, entry: &EntryRow<'_>) -> Vec<u8> {
    let texts =
        [entry.instance_type.unwrap_or_default().len(), entry.summary.len(), entry.envelope.unwrap_or_default().len()];
    let more = if pin.issued_at.is_some() { MORE_BYTES } else { 0 };
    let mut row = Vec::with_capacity(ROW_BYTES + more + texts.iter().sum::<usize>());
    encode_row(&mut row, id, pin, Some(entry));
    row
}

/// How many bytes of a row are its pin; `None` for what is too short to say so.
fn pin_bytes(row: &[u8]) -> Option<usize> {
    if *row.first()? != VERSION_2 {
        return Some(PIN_BYTES);
    }
    // The checksum, which is in both, is the last.
    let count = row.get(PIN_BYTES + MORE_BYTES - 8 - 1)?;
    Some(PIN_BYTES + MORE_BYTES + usize::from(*count) * 32)
}

/// The row's pin, and what follows it.
fn split_pin(row: &[u8]) -> Option<(&[u8], &[u8])> {
    row.split_at_checked(pin_bytes(row)?)
}

/// Appends a row without its entry; its pin is taken as it is. Nothing for what is no row.
pub(super) fn cut_entry(out: &mut Vec<u8>, row: &[u8]) {
    if let Some((pin, _)) = split_pin(row) {
        out.extend_from_slice(pin);
        out.push(NOTHING);
    }
}

/// A row with another pin.
pub(super) fn with_pin(id: &str, row: &[u8], pin: &Pin) -> Option<Vec<u8>> {
    let (_, entry) = split_pin(row)?;
    let mut out = Vec::with_capacity(ROW_BYTES + MORE_BYTES + MAX_SUPERSEDED * 32 + entry.len());
    encode_pin(&mut out, id, pin);
    out.extend_from_slice(entry);
    Some(out)
}

/// The pin of a row; `None` where [`encode_row`] writes no such row for this id. What follows the pin is not looked at.
pub(super) fn decode_pin_of(id: &str, row: &[u8]) -> Option<Pin> {
    decode_pin(id, split_pin(row)?.0)
}

/// What others are shown of an entry: `instance_type` and summary. Of a row that was made here: its pin is not checked.
pub(super) fn shown_in(row: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let entry = decode_entry(split_pin(row)?.1)??;
    Some((entry.instance_type, entry.summary))
}

/// What [`encode_row`] wrote; `None` for every row that it does not write for this id.
pub(super) fn decode_row<'a>(id: &str, row: &'a [u8]) -> Option<(Pin, Option<EntryRow<'a>>)> {
    let (pin, entry) = split_pin(row)?;
    Some((decode_pin(id, pin)?, decode_entry(entry)?))
}

/// What follows the pin.
fn decode_entry(mut rest: &[u8]) -> Option<Option<EntryRow<'_>>> {
    let [kind] = take(&mut rest)?;
    if kind == NOTHING {
        return rest.is_empty().then_some(None);
    }
    let last_seen = Timestamp::from_micros(i64::from_be_bytes(take(&mut rest)?));
    let expires_at_ms = i64::from_be_bytes(take(&mut rest)?);
    let [flags] = take(&mut rest)?;
    let mut length = || usize::try_from(u32::from_be_bytes(take(&mut rest)?)).ok();
    let (type_bytes, summary_bytes) = (length()?, length()?);
    let (instance_type, rest) = rest.split_at_checked(type_bytes)?;
    let (summary, envelope) = rest.split_at_checked(summary_bytes)?;
    let instance_type = std::str::from_utf8(instance_type).ok()?;
    if flags & !HAS_INSTANCE_TYPE != 0 || !(kind == NEAR || (kind == FAR && envelope.is_empty())) {
        return None;
    }
    let instance_type = (flags & HAS_INSTANCE_TYPE != 0).then_some(instance_type);
    let envelope = (kind == NEAR).then_some(envelope);
    Some(Some(EntryRow { instance_type, summary, last_seen, expires_at_ms, envelope }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pin() -> Pin {
        Pin { digest: [2; 32], ..Pin::fresh(PublicKey::from_bytes([1; 32])) }
    }

    #[test]
    fn a_row_with_its_entry_is_made_in_one_piece() {
        let at = Timestamp::from_seconds(1);
        for (instance_type, envelope) in [(Some("local"), Some(&[7; 9000][..])), (None, None)] {
            let entry = EntryRow { instance_type, summary: b"{}", last_seen: at, expires_at_ms: 2, envelope };
            let row = encode_entry("a", &pin(), &entry);
            assert_eq!(row, encoded("a", &pin(), Some(&entry)));
            assert_eq!(row.capacity(), row.len(), "it was grown, or took too much");
        }
    }

    fn encoded(id: &str, pin: &Pin, entry: Option<&EntryRow<'_>>) -> Vec<u8> {
        let mut row = Vec::new();
        encode_row(&mut row, id, pin, entry);
        row
    }

    proptest! {
        #[test]
        fn a_pin_is_read_as_it_was_written(
            key: [u8; 32], digest: [u8; 32], micros in proptest::option::of(any::<i64>()), seq in proptest::option::of(any::<u64>()),
            issued in proptest::option::of(any::<i64>()), superseded in proptest::collection::vec(any::<[u8; 32]>(), 0..=MAX_SUPERSEDED)
        ) {
            let pin = Pin {
                public_key: PublicKey::from_bytes(key), last_updated: micros.map(Timestamp::from_micros), seq, digest,
                issued_at: issued.map(Timestamp::from_micros), superseded,
            };
            let row = encoded("a", &pin, None);
            prop_assert_eq!(decode_pin_of("a", &row), Some(pin.clone()));
            prop_assert_eq!(decode_row("a", &row), Some((pin.clone(), None)));
            let entry = EntryRow {
                instance_type: None, summary: b"{}", last_seen: Timestamp::EPOCH, expires_at_ms: 1, envelope: Some(b"e"),
            };
            let other = with_pin("a", &encoded("a", &super::tests::pin(), Some(&entry)), &pin).unwrap();
            prop_assert_eq!(decode_row("a", &other), Some((pin.clone(), Some(entry))));
            let mut cut = Vec::new();
            cut_entry(&mut cut, &other);
            prop_assert_eq!(decode_row("a", &cut), Some((pin, None)));
        }

        #[test]
        fn an_entry_is_read_as_it_was_written(
            kind in proptest::option::of(".{0,40}"), summary: Vec<u8>, times: (i64, i64), envelope: Option<Vec<u8>>
        ) {
            let entry = EntryRow {
                instance_type: kind.as_deref(), summary: &summary, last_seen: Timestamp::from_micros(times.0),
                expires_at_ms: times.1, envelope: envelope.as_deref(),
            };
            let row = encoded("a", &pin(), Some(&entry));
            prop_assert_eq!(decode_row("a", &row), Some((pin(), Some(entry))));
            prop_assert_eq!(decode_row("b", &row), None);
        }

        #[test]
        fn no_row_makes_the_readers_panic(row: Vec<u8>, tail: Vec<u8>) {
            let _ = decode_row("a", &row);
            // Also behind a pin that is right.
            let mut behind = encoded("a", &pin(), None);
            behind.truncate(PIN_BYTES);
            behind.extend_from_slice(&tail);
            let _ = decode_row("a", &behind);
        }
    }

    #[test]
    fn a_pin_that_was_changed_in_any_byte_or_moved_to_another_id_is_refused() {
        let mut row = Vec::new();
        encode_pin(&mut row, "a", &pin());
        assert_eq!(row.len(), PIN_BYTES);
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
        let mut row = Vec::new();
        encode_pin(&mut row, "a", &pin());
        row.truncate(row.len() - 8);
        row[0] = VERSION_2 + 1;
        let sum = checksum(&row, "a");
        row.extend_from_slice(&sum);
        assert!(decode_pin("a", &row).is_none());
    }
}
