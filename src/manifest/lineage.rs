//! The unbroken stretches of a journal, and whether a position that was recorded earlier still counts (DESIGN 4.6). Pure: no clock,
//! no files. The one rule stands in [`Lineage::check`].

use crate::types::{Sha256Digest, decode_hex, encode_hex, is_lower_hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, fmt::Write as _};

/// Hex digits of an epoch's id.
pub const EPOCH_DIGITS: usize = 16;
/// Hex digits of a journal's `index_id`, which is the id of its first epoch.
pub(super) const INDEX_ID_DIGITS: usize = 32;
/// The newest epochs that a lineage keeps. Positions of older ones are void.
pub const MAX_EPOCHS: usize = 1024;

/// Why a text is not the id of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 16 lower-case hex digits, or the 32 of an index_id")]
pub struct EpochError;

/// The random id of an unbroken stretch of one journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch(Box<str>);

impl Epoch {
    /// The epoch with these random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; EPOCH_DIGITS / 2]) -> Self {
        Self(encode_hex(&bytes).into())
    }

    /// Reads 16 lower-case hex digits, or 32 where an `index_id` is the epoch.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn parse(text: &str) -> Result<Self, EpochError> {
        let is_length = [EPOCH_DIGITS, INDEX_ID_DIGITS].contains(&text.len());
        if is_length && is_lower_hex(text.as_bytes()) { Ok(Self(text.into())) } else { Err(EpochError) }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Epoch {
    type Error = EpochError;

    fn try_from(text: String) -> Result<Self, EpochError> {
        Self::parse(&text)
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.0.into()
    }
}

/// An index into a journal. Release 0.1.0 wrote `index_id` in the place of the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The newest epoch of the journal when the position was recorded.
    #[serde(alias = "index_id")]
    pub epoch: Epoch,
    /// Everything up to here is known.
    pub seq: u64,
}

impl Position {
    /// A position in this epoch.
    #[must_use]
    pub const fn new(epoch: Epoch, seq: u64) -> Self {
        Self { epoch, seq }
    }

    /// Reads `EPOCH:SEQ`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.split_once(':')?;
        Some(Self { epoch: Epoch::parse(epoch).ok()?, seq: seq.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

/// Where an epoch begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Its first position.
    pub since: u64,
}

/// Why a recorded position does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    /// Its epoch is not part of the journal's history.
    UnknownEpoch,
    /// The journal never reached it, or continued from an earlier position.
    Beyond,
}

/// The epochs of a journal, oldest first; at least one. Their first positions ascend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    starts: Vec<EpochStart>,
    hash: Sha256Digest,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    epochs: Vec<EpochStart>,
}

impl Lineage {
    /// The lineage of these epochs, of which the newest [`MAX_EPOCHS`] are kept. `None`: there is none, their first positions do not
    /// ascend, or one occurs twice.
    #[must_use]
    pub fn new(mut starts: Vec<EpochStart>) -> Option<Self> {
        starts.drain(..starts.len().saturating_sub(MAX_EPOCHS));
        let ascends = starts.is_sorted_by(|one, next| one.since < next.since);
        let mut ids: Vec<&Epoch> = starts.iter().map(|start| &start.epoch).collect();
        ids.sort_unstable();
        let is_unique = ids.is_sorted_by(|one, next| one < next);
        if starts.is_empty() || !ascends || !is_unique {
            return None;
        }
        let mut lines = String::new();
        for EpochStart { epoch, since } in &starts {
            // A String takes all.
            let _infallible = writeln!(lines, "{epoch} {since}");
        }
        Some(Self { starts, hash: Sha256::digest(lines).into() })
    }

    /// One epoch alone: of a journal without epochs its `index_id`, from the beginning.
    #[must_use]
    pub fn of(epoch: Epoch, since: u64) -> Self {
        let hash = Sha256::digest(format!("{epoch} {since}\n")).into();
        Self { starts: vec![EpochStart { epoch, since }], hash }
    }

    /// The newest epoch; `None` never, as there is at least one.
    #[must_use]
    pub fn current(&self) -> Option<&EpochStart> {
        self.starts.last()
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// Is this epoch part of it?
    #[must_use]
    pub fn contains(&self, epoch: &Epoch) -> bool {
        self.starts.iter().any(|start| start.epoch == *epoch)
    }

    /// SHA-256 over a line `epoch SP first LF` for each epoch, oldest first.
    #[must_use]
    pub fn hash(&self) -> &Sha256Digest {
        &self.hash
    }

    /// Does this position count in a journal that has this lineage and stands at `seq`? It does if its epoch is part of the lineage,
    /// the journal has reached it, and it lies before the next epoch's first position.
    ///
    /// # Errors
    /// [`Void`].
    pub fn check(&self, position: &Position, seq: u64) -> Result<(), Void> {
        let end = self.end_of(&position.epoch, seq).ok_or(Void::UnknownEpoch)?;
        if position.seq > seq.min(end) { Err(Void::Beyond) } else { Ok(()) }
    }

    /// The last position of this epoch in a journal that stands at `seq`. `None`: the epoch is not part of it.
    #[must_use]
    pub fn end_of(&self, epoch: &Epoch, seq: u64) -> Option<u64> {
        let at = self.starts.iter().rposition(|start| start.epoch == *epoch)?;
        let next = self.starts.get(at.saturating_add(1));
        Some(next.map_or(seq, |next| next.since.saturating_sub(1)))
    }

    /// The same with one more epoch at its end. `None`: it does not begin after the newest one.
    #[must_use]
    pub fn followed_by(&self, start: EpochStart) -> Option<Self> {
        let mut starts = self.starts.clone();
        starts.push(start);
        Self::new(starts)
    }

    /// The same up to this epoch. `None`: it is not part of it.
    #[must_use]
    pub fn up_to(&self, epoch: &Epoch) -> Option<Self> {
        let at = self.starts.iter().rposition(|start| start.epoch == *epoch)?;
        Self::new(self.starts.get(..=at)?.to_vec())
    }

    /// As the wire has it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let listed = Listed { epochs: self.starts.clone() };
        // Texts and numbers are always written.
        serde_json::to_string(&listed).unwrap_or_default()
    }

    /// Reads what [`Self::to_json`] wrote. `None`: it is not a lineage.
    #[must_use]
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let Listed { epochs } = serde_json::from_slice(text).ok()?;
        if epochs.len() > MAX_EPOCHS { None } else { Self::new(epochs) }
    }
}

/// What a signed head states of its journal's epochs. Heads of release 0.1.0 state nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadEpoch {
    /// The newest epoch.
    pub epoch: Epoch,
    /// Its first position.
    pub since: u64,
    /// The hash of the whole lineage.
    pub lineage_hash: Sha256Digest,
    /// The epoch that begins with the next write, where the writer was started since the last one.
    pub next: Option<Epoch>,
}

impl HeadEpoch {
    /// What a journal with this lineage states.
    #[must_use]
    pub fn of(lineage: &Lineage, next: Option<Epoch>) -> Option<Self> {
        let EpochStart { epoch, since } = lineage.current()?.clone();
        let next = next.filter(|next| *next != epoch);
        Some(Self { epoch, since, lineage_hash: *lineage.hash(), next })
    }
}

/// 64 hex digits after `sha256:`.
pub(super) fn read_hash(text: &str) -> Option<Sha256Digest> {
    decode_hex(text.strip_prefix("sha256:")?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The epoch with this number.
    pub(crate) fn epoch(number: u64) -> Epoch {
        Epoch::from_bytes(number.to_be_bytes())
    }

    fn lineage(starts: &[(u64, u64)]) -> Lineage {
        let start = |(number, since): &(u64, u64)| EpochStart { epoch: epoch(*number), since: *since };
        Lineage::new(starts.iter().map(start).collect()).unwrap()
    }

    #[test]
    fn positions_count_until_the_next_epoch_begins() {
        let it = lineage(&[(1, 0), (2, 4), (3, 10)]);
        let check = |number, seq| it.check(&Position::new(epoch(number), seq), 12);
        assert_eq!([check(1, 0), check(1, 3), check(2, 3), check(2, 9), check(3, 0), check(3, 12)], [Ok(()); 6]);
        assert_eq!([check(1, 4), check(2, 10), check(3, 13)], [Err(Void::Beyond); 3]);
        assert_eq!(check(4, 1), Err(Void::UnknownEpoch));
    }

    #[test]
    fn lineage_is_read_as_it_was_written_and_its_hash_tells_it_from_others() {
        let it = lineage(&[(1, 0), (2, 4)]);
        assert_eq!(Lineage::from_json(it.to_json().as_bytes()), Some(it.clone()));
        assert_eq!(lineage(&[(1, 0), (2, 4), (3, 9)]).up_to(&epoch(2)), Some(it.clone()));
        assert_ne!(lineage(&[(1, 0), (2, 5)]).hash(), it.hash());
        assert_eq!(lineage(&[(7, 3)]), Lineage::of(epoch(7), 3));
        for bad in [&[][..], &[(1, 4), (2, 4)], &[(1, 4), (2, 3)], &[(1, 4), (1, 5)]] {
            let start = |(number, since): &(u64, u64)| EpochStart { epoch: epoch(*number), since: *since };
            assert_eq!(Lineage::new(bad.iter().map(start).collect()), None, "{bad:?}");
        }
        let many: Vec<(u64, u64)> = (0..3000).map(|number| (number, number)).collect();
        assert_eq!((lineage(&many).starts().len(), lineage(&many).contains(&epoch(1975))), (MAX_EPOCHS, false));
    }

    #[test]
    fn ids_of_epochs_and_positions_are_checked() {
        for good in ["0123456789abcdef", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(Epoch::parse(good).unwrap().as_str(), good);
            assert_eq!(Position::parse(&format!("{good}:7")), Some(Position::new(Epoch::parse(good).unwrap(), 7)));
        }
        for bad in ["", "0123456789abcde", "0123456789ABCDEF", "0123456789abcdefg", "0123456789abcdeg"] {
            assert_eq!(Epoch::parse(bad), Err(EpochError), "{bad}");
        }
        for bad in ["0123456789abcdef", "0123456789abcdef:-1", ":7", "0123456789abcdef:7:8"] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
        let old: Position = serde_json::from_str(r#"{"index_id":"0123456789abcdef0123456789abcdef","seq":9}"#).unwrap();
        assert_eq!((old.epoch.as_str().len(), old.seq), (32, 9), "as release 0.1.0 wrote it");
    }

    /// A journal of the model: what stands at each position, and the lineage.
    #[derive(Debug, Clone, Default)]
    struct Model {
        entries: Vec<u64>,
        starts: Vec<EpochStart>,
        due: bool,
    }

    #[derive(Debug, Clone)]
    enum Move {
        Write,
        Restart,
        Copy,
        Restore(prop::sample::Index),
        Record,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            4 => Just(Move::Write),
            1 => Just(Move::Restart),
            1 => Just(Move::Copy),
            1 => any::<prop::sample::Index>().prop_map(Move::Restore),
            3 => Just(Move::Record),
        ];
        prop::collection::vec(one, 0..60)
    }

    impl Model {
        fn lineage(&self) -> Lineage {
            Lineage::new(self.starts.clone()).unwrap()
        }

        fn seq(&self) -> u64 {
            u64::try_from(self.entries.len()).unwrap()
        }
    }

    proptest! {
        /// A position counts if and only if what the journal held up to it, when it was recorded, is what it holds up to it now.
        #[test]
        fn a_position_counts_exactly_where_the_journal_still_begins_so(moves in moves()) {
            let mut random = 0;
            let mut fresh = || { random += 1; random };
            let start = EpochStart { epoch: epoch(fresh()), since: 0 };
            let mut journal = Model { starts: vec![start], due: true, ..Model::default() };
            let mut copies = vec![journal.clone()];
            let mut recorded: Vec<(Position, Vec<u64>)> = Vec::new();
            for step in moves {
                match step {
                    Move::Write => {
                        if std::mem::take(&mut journal.due) {
                            let start = EpochStart { epoch: epoch(fresh()), since: journal.seq() + 1 };
                            journal.starts.push(start);
                        }
                        journal.entries.push(fresh());
                    }
                    Move::Restart => journal.due = true,
                    Move::Copy => copies.push(journal.clone()),
                    Move::Restore(index) => journal = Model { due: true, ..index.get(&copies).clone() },
                    Move::Record => {
                        let newest = journal.lineage().current().unwrap().epoch.clone();
                        recorded.push((Position::new(newest, journal.seq()), journal.entries.clone()));
                    }
                }
                for (position, entries) in &recorded {
                    let counts = journal.lineage().check(position, journal.seq()).is_ok();
                    let same = journal.entries.starts_with(entries);
                    // A copy that was made before an epoch's first write does not know that epoch: then it counts as void.
                    prop_assert!(!counts || same, "{position:?} {journal:?}");
                    if same && journal.lineage().contains(&position.epoch) {
                        prop_assert!(counts, "{position:?} {journal:?}");
                    }
                }
            }
        }
    }
}
