//! Messages of range-based set reconciliation: the negentropy protocol, version 1, all timestamps 0. Pure: an index and a message in,
//! the next message out.
//!
//! A message says something of the whole order of versions, range by range: nothing (skip), a fingerprint, or the ids. Whoever
//! hears a fingerprint that is not his says more of that range. The responder keeps nothing between two messages.

use super::{
    index::{FINGERPRINT_BYTES, Fingerprint, SetIndex},
    item::{ITEM_BYTES, ItemId},
};
use std::{collections::BTreeSet, ops::Range};

/// Longest message that is made here, and taken.
pub const FRAME_BYTES: usize = 256 << 10;
/// What is kept free for the last range of a message.
const FRAME_ROOM_BYTES: usize = 200;
const VERSION: u8 = 0x61;
/// First bytes of messages of any version.
const VERSIONS: std::ops::RangeInclusive<u8> = 0x60..=0x6F;
/// A range that is not alike is cut in so many; one of fewer than twice as many versions is listed.
const PARTS: usize = 16;
/// After every version.
const END: u64 = u64::MAX;

/// Why a message is not taken. One line for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is cut off.
    #[error("a message of the reconciliation ends too early")]
    Ends,
    /// It is no message.
    #[error("a message of the reconciliation begins with none of its versions")]
    NoVersion,
    /// The responder does not speak this version.
    #[error("it does not speak version 1 of the reconciliation")]
    OtherVersion,
    /// A number has more than 64 bits.
    #[error("a number in a message of the reconciliation is too great")]
    Number,
    /// A bound is longer than an id.
    #[error("a bound in a message of the reconciliation is longer than an id")]
    Bound,
    /// A range says something that is not known.
    #[error("a range in a message of the reconciliation has an unknown mode")]
    Mode,
}

/// What only one side has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// What we have and they lack.
    pub have: Vec<ItemId>,
    /// What they have and we lack.
    pub need: Vec<ItemId>,
}

/// Where a range ends: before the first version that is not less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    timestamp: u64,
    id: ItemId,
    length: usize,
}

impl Bound {
    const START: Self = Self { timestamp: 0, id: ItemId::from_bytes([0; ITEM_BYTES]), length: 0 };
    const END: Self = Self { timestamp: END, ..Self::START };

    fn at(id: ItemId, length: usize) -> Self {
        let mut bytes = [0; ITEM_BYTES];
        bytes.iter_mut().zip(id.as_bytes()).take(length).for_each(|(to, from)| *to = *from);
        Self { timestamp: 0, id: ItemId::from_bytes(bytes), length }
    }

    /// The shortest that stands after `last` and not after `next`.
    fn between(last: &ItemId, next: &ItemId) -> Self {
        let alike = last.as_bytes().iter().zip(next.as_bytes()).take_while(|(one, other)| one == other).count();
        Self::at(*next, alike.saturating_add(1).min(ITEM_BYTES))
    }

    /// How many versions stand before it.
    fn rank(&self, index: &SetIndex) -> usize {
        // All our timestamps are 0.
        if self.timestamp > 0 { index.len() } else { index.rank(&self.id) }
    }
}

#[derive(Debug)]
enum Said {
    Nothing,
    Fingerprint(Fingerprint),
    Ids(Vec<ItemId>),
}

/// A number as the protocol writes it: 7 bits a byte, greatest first.
pub(super) fn write_number(number: u64, out: &mut Vec<u8>) {
    let bits = u64::BITS - number.leading_zeros();
    let bytes = bits.div_ceil(7).max(1);
    for place in (0..bytes).rev() {
        let more = if place > 0 { 0x80 } else { 0 };
        let low = number.checked_shr(7 * place).unwrap_or(0) & 0x7F;
        out.extend(u8::try_from(low).map(|low| low | more));
    }
}

/// A message that is read.
struct Reader<'a> {
    rest: &'a [u8],
    timestamp: u64,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(MessageError::Ends)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        self.bytes(N)?.try_into().map_err(|_| MessageError::Ends)
    }

    fn number(&mut self) -> Result<u64, MessageError> {
        let mut number = 0_u64;
        loop {
            let [byte] = self.array()?;
            number = number.checked_mul(1 << 7).ok_or(MessageError::Number)? | u64::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
    }

    fn bound(&mut self) -> Result<Bound, MessageError> {
        let more = self.number()?;
        self.timestamp = more.checked_sub(1).map_or(END, |more| self.timestamp.saturating_add(more));
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > ITEM_BYTES {
            return Err(MessageError::Bound);
        }
        let mut id = [0; ITEM_BYTES];
        id.iter_mut().zip(self.bytes(length)?).for_each(|(to, from)| *to = *from);
        Ok(Bound { timestamp: self.timestamp, id: ItemId::from_bytes(id), length })
    }

    fn range(&mut self) -> Result<(Bound, Said), MessageError> {
        let bound = self.bound()?;
        let said = match self.number()? {
            0 => Said::Nothing,
            1 => Said::Fingerprint(self.array::<FINGERPRINT_BYTES>()?),
            2 => {
                let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
                // Before any room is made for them.
                let bytes = count.checked_mul(ITEM_BYTES).ok_or(MessageError::Ends)?;
                let (ids, _) = self.bytes(bytes)?.as_chunks::<ITEM_BYTES>();
                Said::Ids(ids.iter().copied().map(ItemId::from_bytes).collect())
            }
            _ => return Err(MessageError::Mode),
        };
        Ok((bound, said))
    }
}

/// A message that is written.
struct Writer<'a> {
    index: &'a SetIndex,
    out: Vec<u8>,
    timestamp: u64,
    /// Where a range begins of which nothing is to be said.
    skipped: bool,
    /// Everything before this place is said.
    said: usize,
}

impl<'a> Writer<'a> {
    fn new(index: &'a SetIndex) -> Self {
        Self { index, out: vec![VERSION], timestamp: 0, skipped: false, said: 0 }
    }

    fn bound(&mut self, bound: &Bound) {
        if bound.timestamp == END {
            self.timestamp = END;
            write_number(0, &mut self.out);
        } else {
            let more = bound.timestamp.saturating_sub(self.timestamp);
            self.timestamp = bound.timestamp;
            write_number(more.saturating_add(1), &mut self.out);
        }
        write_number(u64::try_from(bound.length).unwrap_or(0), &mut self.out);
        self.out.extend(bound.id.as_bytes().iter().take(bound.length));
    }

    fn skip_to(&mut self, bound: &Bound) {
        if std::mem::take(&mut self.skipped) {
            self.bound(bound);
            write_number(0, &mut self.out);
        }
    }

    fn fingerprint(&mut self, range: Range<usize>, bound: &Bound) {
        self.bound(bound);
        write_number(1, &mut self.out);
        self.out.extend(self.index.fingerprint(range));
    }

    fn ids(&mut self, range: Range<usize>, bound: &Bound) {
        self.bound(bound);
        write_number(2, &mut self.out);
        write_number(u64::try_from(range.len()).unwrap_or(u64::MAX), &mut self.out);
        for item in self.index.items(range) {
            self.out.extend(item.as_bytes());
        }
    }

    /// Says of a range what tells the two sides apart: its ids, where they are few; otherwise the fingerprints of its parts.
    fn split(&mut self, range: Range<usize>, bound: &Bound) {
        if range.len() < 2 * PARTS {
            self.ids(range, bound);
            return;
        }
        let (each, rest) = (range.len() / PARTS, range.len() % PARTS);
        let mut from = range.start;
        for part in 0..PARTS {
            let to = from + each + usize::from(part < rest);
            let end = if to >= range.end { *bound } else { self.bound_before(to) };
            self.fingerprint(from..to, &end);
            from = to;
        }
    }

    /// Between the version at `place` and the one before it.
    fn bound_before(&self, place: usize) -> Bound {
        let mut pair = self.index.items(place.saturating_sub(1)..place.saturating_add(1));
        match (pair.next(), pair.next()) {
            (Some(last), Some(next)) => Bound::between(last, next),
            _ => Bound::END,
        }
    }

    fn is_full(&self, more: usize) -> bool {
        self.out.len().saturating_add(more) > FRAME_BYTES - FRAME_ROOM_BYTES
    }

    /// Says in one fingerprint all that is not said yet: the rest is for the next message.
    fn leave_rest(&mut self) {
        self.fingerprint(self.said..self.index.len(), &Bound::END);
    }
}

/// The first message.
#[must_use]
pub fn open(index: &SetIndex) -> Vec<u8> {
    let mut writer = Writer::new(index);
    writer.split(0..index.len(), &Bound::END);
    writer.out
}

/// What a responder answers.
///
/// # Errors
/// [`MessageError`].
pub fn respond(index: &SetIndex, message: &[u8]) -> Result<Vec<u8>, MessageError> {
    go_over(index, message, None)
}

/// What the one who began says next, and what came out; `None`: everything is said.
///
/// # Errors
/// [`MessageError`].
pub fn go_on(index: &SetIndex, message: &[u8], differences: &mut Differences) -> Result<Option<Vec<u8>>, MessageError> {
    let next = go_over(index, message, Some(differences))?;
    Ok((next.len() > 1).then_some(next))
}

/// `differences`: where they are noted, by the one who began.
fn go_over(
    index: &SetIndex,
    message: &[u8],
    mut differences: Option<&mut Differences>,
) -> Result<Vec<u8>, MessageError> {
    let mut reader = Reader { rest: message, timestamp: 0 };
    let mut writer = Writer::new(index);
    match reader.array::<1>()? {
        [VERSION] => {}
        // As the protocol has it: who hears this falls back to it.
        [other] if VERSIONS.contains(&other) && differences.is_none() => return Ok(writer.out),
        [other] if VERSIONS.contains(&other) => return Err(MessageError::OtherVersion),
        _ => return Err(MessageError::NoVersion),
    }
    let (mut last_bound, mut lower) = (Bound::START, 0);
    while !reader.rest.is_empty() {
        let (bound, said) = reader.range()?;
        let mut upper = bound.rank(index).max(lower);
        let before = (writer.out.len(), writer.timestamp);
        match (said, differences.as_deref_mut()) {
            (Said::Nothing, _) => writer.skipped = true,
            (Said::Fingerprint(theirs), _) if theirs == index.fingerprint(lower..upper) => writer.skipped = true,
            (Said::Fingerprint(_), _) => {
                writer.skip_to(&last_bound);
                writer.split(lower..upper, &bound);
            }
            (Said::Ids(theirs), Some(differences)) => {
                compare(index, lower..upper, &theirs, differences);
                writer.skipped = true;
            }
            (Said::Ids(_), None) => {
                writer.skip_to(&last_bound);
                let (end, end_bound) = fitting(&writer, lower..upper, &bound);
                writer.ids(lower..end, &end_bound);
                upper = end;
                writer.said = upper;
            }
        }
        if writer.is_full(0) {
            // What does not fit is not said, unless it was cut to fit.
            if writer.said != upper || writer.out.len() > FRAME_BYTES {
                writer.out.truncate(before.0);
                writer.timestamp = before.1;
            }
            writer.leave_rest();
            break;
        }
        if writer.out.len() > before.0 {
            writer.said = upper;
        }
        (lower, last_bound) = (upper, bound);
    }
    Ok(writer.out)
}

/// How far the ids of a range fit into the message, and its bound then.
fn fitting(writer: &Writer<'_>, range: Range<usize>, bound: &Bound) -> (usize, Bound) {
    for (place, item) in (range.start..).zip(writer.index.items(range.clone())) {
        if writer.is_full((place - range.start).saturating_mul(ITEM_BYTES)) {
            return (place, Bound::at(*item, ITEM_BYTES));
        }
    }
    (range.end, *bound)
}

fn compare(index: &SetIndex, range: Range<usize>, theirs: &[ItemId], differences: &mut Differences) {
    let mut theirs: BTreeSet<&ItemId> = theirs.iter().collect();
    differences.have.extend(index.items(range).filter(|ours| !theirs.remove(ours)));
    differences.need.extend(theirs);
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
