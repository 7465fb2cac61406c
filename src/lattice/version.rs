//! Versions of one node: which of two counts, and when an edit was made. Pure: values and a time in, a verdict out (DESIGN 4.7).
//!
//! A version is a time and a content, or a time and the fact that the node is deleted. The order of versions is total and the same
//! everywhere, so instances that know the same versions hold the same one, whatever way and in which order these came to them.
//! Where a version came from does not take part: a version that came over a wire that does not tell would be judged differently
//! on the way.

use super::{Entry, Tombstone};
use crate::types::{ContentHash, Timestamp, is_lower_hex};
use std::{cmp::Ordering, time::Duration};

/// How far ahead of our clock a version may be dated: as far as a manifest.
pub use crate::trust::MAX_SKEW as MAX_AHEAD;

/// How much later than the version that it replaces an edit is dated at least.
const STEP: Duration = Duration::from_millis(1);
/// Bytes of a content hash that an ancestry keeps: two contents of one node that share them are not found by chance.
const ANCESTOR_BYTES: usize = 8;
/// The most ancestors that are kept and sent.
pub const MAX_ANCESTORS: usize = 8;

/// One version of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// When it was made.
    pub at: Timestamp,
    /// What the node holds; `None`: it is deleted.
    pub content: Option<ContentHash>,
}

impl Ord for Version {
    /// The later time is greater. Of two equal times a content is greater than a deletion, so that nothing is lost by a tie; of
    /// two contents the one with the greater hash.
    fn cmp(&self, other: &Self) -> Ordering {
        let content = |version: &Self| version.content.map(|hash| *hash.as_bytes());
        self.at.cmp(&other.at).then_with(|| content(self).cmp(&content(other)))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Entry {
    /// The version that the index holds.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version { at: self.updated_at, content: Some(self.content_hash) }
    }
}

impl Tombstone {
    /// The version that the tombstone is of.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version { at: self.deleted_at, content: None }
    }
}

/// What to do with a version that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts: store it.
    Take,
    /// It says what is held already, with a later time: keep the content, take the time.
    Later,
    /// It says what is held already.
    Same,
    /// The version that is held counts.
    Keep,
    /// It is dated too far ahead to be believed.
    Ahead,
}

/// Judges `offered` against what is held.
#[must_use]
pub fn judge(held: Option<&Version>, offered: &Version, now: Timestamp) -> Verdict {
    if offered.at > now.plus(MAX_AHEAD) {
        return Verdict::Ahead;
    }
    let Some(held) = held else {
        // A deletion of what is not here and was not deleted here: its time is worth knowing.
        return Verdict::Take;
    };
    match (held.content == offered.content, offered.cmp(held)) {
        // Without the later time an instance in between could prefer a version that lost everywhere else.
        (true, Ordering::Greater) => Verdict::Later,
        (true, _) => Verdict::Same,
        (false, Ordering::Greater) => Verdict::Take,
        (false, _) => Verdict::Keep,
    }
}

/// The time that an edit states: `stated` in the new document, where the edit changed it. A time that was left as it was says when
/// the version before was made (DESIGN 4.7).
#[must_use]
pub fn time_of_edit(before: Option<Timestamp>, stated: Option<Timestamp>) -> Option<Timestamp> {
    stated.filter(|stated| before != Some(*stated))
}

/// The time that an edit of a version must come after. `clock_agrees`: other instances date by the same clock, so a version that lies further
/// ahead than they accept was made while this machine's clock was wrong. An edit dated after that would be refused like it.
#[must_use]
pub fn to_follow(previous: Option<Timestamp>, clock_agrees: bool, now: Timestamp) -> Option<Timestamp> {
    previous.filter(|previous| !clock_agrees || *previous <= now.plus(MAX_AHEAD))
}

/// `now`, or just after the version that is replaced: also while the clock is behind (it was set back), a change must not be dated
/// before what it changed, or it would lose against that wherever the two meet.
#[must_use]
pub fn after_version(now: Timestamp, replaced: Timestamp) -> Timestamp {
    now.max(replaced.plus(STEP))
}

/// When an edit counts as made that was seen at `now`, says itself that it was made at `stated`, and replaces a version of
/// `previous`.
///
/// What is stated counts where it lies after the version that is replaced, and not in the future. Otherwise an edit would lose
/// against the very version that it replaced: a file that is edited by hand seldom states a new time.
#[must_use]
pub fn edit_time(previous: Option<Timestamp>, stated: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let stated = stated.filter(|stated| *stated <= now.plus(MAX_AHEAD));
    match (previous, stated) {
        (None, stated) => stated.unwrap_or(now),
        (Some(previous), Some(stated)) if stated > previous => stated,
        (Some(previous), _) => after_version(now, previous),
    }
}

/// The earliest time of a version that replaces one of `previous`.
#[must_use]
pub fn just_after(previous: Timestamp) -> Timestamp {
    previous.plus(STEP)
}

/// The latest time of a version that one of `next` replaces.
#[must_use]
pub fn just_before(next: Timestamp) -> Timestamp {
    Timestamp::from_micros(next.micros().saturating_sub(1))
}

/// What a changed file shows of the moment at which its edit was made.
#[derive(Debug, Clone, Copy)]
pub struct FileTimes {
    /// The document's own `updated_at`, where the edit changed it.
    pub stated: Option<Timestamp>,
    /// The file's mtime: programs that copy may bring an old one along.
    pub modified: Timestamp,
    /// The file's ctime: the file was put in its place no later than that, and no program can choose it.
    pub placed: Timestamp,
}

/// When an edit counts as made that is found while the service runs. `known_at`: the last moment at which the file is known to have held
/// the version of `previous`.
///
/// The edit's own date counts where it lies after the replaced version and not in the future. Otherwise the mtime does, so that an edit
/// that is noticed late counts from when it was made; of a file that was copied in with an older mtime the moment at which it was put
/// there. Always after the replaced version.
#[must_use]
pub fn edit_seen(previous: Option<Timestamp>, times: FileTimes, known_at: Timestamp, now: Timestamp) -> Timestamp {
    let is_newer = |stated: &Timestamp| previous.is_none_or(|previous| *stated > previous);
    if let Some(stated) = times.stated.filter(|stated| is_newer(stated) && *stated <= now.plus(MAX_AHEAD)) {
        return stated;
    }
    // After the clock was set back, that moment tells nothing.
    let known_at = known_at.min(now);
    let made = if times.modified < known_at { times.placed } else { times.modified };
    let earliest = previous.map_or(known_at, |previous| known_at.max(previous.plus(STEP)));
    made.min(now).max(earliest)
}

/// When an edit of the version of `previous` counts as made that is found at the start of the service: it may be older than that
/// version, where the file comes from a backup. A file from the future shows that the clock is behind, and comes from no backup.
#[must_use]
pub fn edit_found_at_start(previous: Option<Timestamp>, times: FileTimes, now: Timestamp) -> Timestamp {
    match times.stated.filter(|stated| *stated <= now.plus(MAX_AHEAD)) {
        Some(stated) => stated.min(now),
        None if times.modified > now => previous.map_or(now, |previous| now.max(just_after(previous))),
        None => times.modified,
    }
}

/// When a version counts as made that is found in a file, and of which nothing else is known: as its document states, unless that is in
/// the future, else when the file was last changed.
#[must_use]
pub fn time_of_file(stated: Option<Timestamp>, changed_at: Timestamp, now: Timestamp) -> Timestamp {
    stated.filter(|stated| *stated <= now.plus(MAX_AHEAD)).unwrap_or(changed_at.min(now))
}

/// When a version counts as made whose sender does not say, and its document neither: now where nothing is known of the node, as any
/// content counts from when it was first seen. Where something is known (`is_known`), before everything else: the sender may have kept an
/// old copy for years, and sends it again with every round. Taken as made now it would undo every edit and deletion since, everywhere.
#[must_use]
pub fn time_of_undated(is_known: bool, now: Timestamp) -> Timestamp {
    if is_known { Timestamp::from_micros(i64::MIN) } else { now }
}

/// The contents that a version came from, newest first: a version that replaces one of them contradicts nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ancestry(Vec<[u8; ANCESTOR_BYTES]>);

impl Ancestry {
    /// From text, as [`Self::texts`] writes it; `None` where it is not that. More than [`MAX_ANCESTORS`] are cut off.
    #[must_use]
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let parse = |text: &str| {
            let mut bytes = [0; ANCESTOR_BYTES];
            let digits = (text.len() == 2 * ANCESTOR_BYTES).then(|| u64::from_str_radix(text, 16).ok()).flatten()?;
            bytes.copy_from_slice(&digits.to_be_bytes());
            is_lower_hex(text.as_bytes()).then_some(bytes)
        };
        texts.into_iter().take(MAX_ANCESTORS).map(parse).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Each as 16 hex digits.
    pub fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|bytes| format!("{:016x}", u64::from_be_bytes(*bytes)))
    }

    /// Was this content one of them?
    #[must_use]
    pub fn names(&self, content: &ContentHash) -> bool {
        self.0.contains(&prefix(content))
    }

    /// The ancestry of what replaces `content`, whose own ancestry this is.
    #[must_use]
    pub fn after(&self, content: &ContentHash) -> Self {
        let older = self.0.iter().filter(|older| **older != prefix(content)).take(MAX_ANCESTORS.saturating_sub(1));
        Self(std::iter::once(prefix(content)).chain(older.copied()).collect())
    }

    /// As bytes, to be kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// From [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.chunks_exact(ANCESTOR_BYTES).filter_map(|chunk| chunk.try_into().ok()).take(MAX_ANCESTORS).collect())
    }
}

fn prefix(content: &ContentHash) -> [u8; ANCESTOR_BYTES] {
    let mut bytes = [0; ANCESTOR_BYTES];
    bytes.iter_mut().zip(content.as_bytes()).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    fn version(at: i64, content: &str) -> Version {
        let content = (!content.is_empty()).then(|| ContentHash::of(content.as_bytes()));
        Version { at: Timestamp::from_seconds(at), content }
    }

    #[test]
    fn of_any_two_versions_one_counts_on_both_sides() {
        let all = [version(1, "a"), version(1, "b"), version(1, ""), version(2, "a"), version(2, ""), version(3, "b")];
        for one in &all {
            for other in &all {
                let verdicts = (judge(Some(one), other, NOW), judge(Some(other), one, NOW));
                let expected = match (one.content == other.content, one.cmp(other)) {
                    (true, Ordering::Equal) => (Verdict::Same, Verdict::Same),
                    (true, Ordering::Less) => (Verdict::Later, Verdict::Same),
                    (true, Ordering::Greater) => (Verdict::Same, Verdict::Later),
                    (false, Ordering::Less) => (Verdict::Take, Verdict::Keep),
                    (false, _) => (Verdict::Keep, Verdict::Take),
                };
                assert_eq!(verdicts, expected, "{one:?} {other:?}");
            }
        }
        assert!(version(1, "a") > version(1, ""), "a tie deletes nothing");
    }

    #[test]
    fn any_order_of_delivery_ends_with_the_same_version() {
        let all = [version(5, "a"), version(1, "a"), version(3, "b"), version(5, ""), version(4, "c")];
        let mut held_at_the_end = Vec::new();
        // Every rotation and its reverse: the order must not matter, nor that some come twice.
        for start in 0..all.len() {
            let order: Vec<&Version> = all.iter().cycle().skip(start).take(all.len() + 2).collect();
            for order in [order.clone(), order.into_iter().rev().collect()] {
                let mut held: Option<Version> = None;
                for offered in order {
                    if matches!(judge(held.as_ref(), offered, NOW), Verdict::Take | Verdict::Later) {
                        held = Some(*offered);
                    }
                }
                held_at_the_end.push(held);
            }
        }
        assert!(held_at_the_end.iter().all(|held| *held == Some(version(5, "a"))), "{held_at_the_end:?}");
    }

    #[test]
    fn what_is_dated_in_the_future_is_not_believed() {
        assert_eq!(judge(None, &version(1_000_301, "a"), NOW), Verdict::Ahead);
        assert_eq!(judge(None, &version(1_000_300, "a"), NOW), Verdict::Take);
    }

    #[test]
    fn an_edit_is_later_than_what_it_replaces() {
        let at = Timestamp::from_seconds;
        assert_eq!(edit_time(None, None, NOW), NOW);
        assert_eq!(edit_time(None, Some(at(5)), NOW), at(5));
        assert_eq!(edit_time(Some(at(4)), Some(at(5)), NOW), at(5));
        // The editor left the time as it was, or the clock was set back.
        assert_eq!(edit_time(Some(at(5)), Some(at(5)), NOW), NOW);
        assert_eq!(edit_time(Some(at(2_000_000)), None, NOW), at(2_000_000).plus(STEP));
        // A typing error does not win for years.
        assert_eq!(edit_time(Some(at(5)), Some(at(9_000_000)), NOW), NOW);
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn file(stated: Option<i64>, modified: i64, placed: i64) -> FileTimes {
        FileTimes { stated: stated.map(at), modified: at(modified), placed: at(placed) }
    }

    #[test]
    fn an_edit_that_is_noticed_late_counts_from_its_mtime() {
        let seen = |previous: Option<i64>, times| edit_seen(previous.map(at), times, at(500), at(1000));
        assert_eq!(seen(Some(400), file(None, 700, 700)), at(700));
        assert_eq!(
            seen(Some(400), file(Some(800), 700, 700)),
            at(800),
            "its own date counts where it states a new one"
        );
        assert_eq!(
            seen(Some(400), file(Some(300), 700, 700)),
            at(700),
            "a date before the replaced version does not count"
        );
        assert_eq!(seen(Some(400), file(Some(2000), 700, 700)), at(700), "nor does one in the future");
        assert_eq!(seen(Some(400), file(None, 10, 900)), at(900), "copied in with an old mtime: when it was put there");
        assert_eq!(seen(None, file(None, 10, 900)), at(900));
        assert_eq!(
            seen(Some(400), file(None, 10, 20)),
            at(500),
            "not before the file was known to hold the old version"
        );
        assert_eq!(seen(Some(400), file(None, 5000, 5000)), at(1000), "never in the future");
        assert_eq!(seen(Some(900), file(None, 700, 700)), at(900).plus(STEP), "always after the replaced version");
        assert_eq!(edit_seen(None, file(None, 700, 700), at(500), at(100)), at(100), "the clock was set back");
    }

    #[test]
    fn a_file_that_is_found_at_start_may_be_older_than_the_journal() {
        let found = |times| edit_found_at_start(Some(at(900)), times, at(1000));
        assert_eq!(found(file(None, 700, 900)), at(700));
        assert_eq!(found(file(Some(300), 700, 900)), at(300));
        assert_eq!(found(file(Some(5000), 700, 900)), at(700));
        assert_eq!(found(file(None, 5000, 5000)), at(1000));
        assert_eq!(edit_found_at_start(Some(at(2000)), file(None, 5000, 5000), at(1000)), at(2000).plus(STEP));
    }

    #[test]
    fn what_a_file_or_a_sender_does_not_date_never_undoes_what_is_known() {
        let at = Timestamp::from_seconds;
        assert_eq!(time_of_file(Some(at(5)), at(7), NOW), at(5));
        assert_eq!(time_of_file(None, at(7), NOW), at(7));
        assert_eq!(time_of_file(Some(at(9_000_000)), at(7), NOW), at(7));
        assert_eq!(time_of_file(None, at(9_000_000), NOW), NOW);
        let undated = |known| Version { at: time_of_undated(known, NOW), ..version(0, "b") };
        assert_eq!(judge(None, &undated(false), NOW), Verdict::Take);
        // Also where the file is from 1970 or before.
        for seconds in [0, -5, 999_999] {
            assert_eq!(judge(Some(&version(seconds, "a")), &undated(true), NOW), Verdict::Keep);
            assert_eq!(judge(Some(&version(seconds, "b")), &undated(true), NOW), Verdict::Same);
        }
    }

    #[test]
    fn an_ancestry_is_short_and_keeps_its_forms() {
        let contents: Vec<ContentHash> = (0..20_u8).map(|n| ContentHash::of(&[n])).collect();
        let ancestry = contents.iter().fold(Ancestry::default(), |ancestry, content| ancestry.after(content));
        assert_eq!(ancestry.to_bytes().len(), MAX_ANCESTORS * ANCESTOR_BYTES);
        assert!(ancestry.names(&contents[19]) && ancestry.names(&contents[12]) && !ancestry.names(&contents[11]));
        let texts: Vec<String> = ancestry.texts().collect();
        assert_eq!(Ancestry::parse(texts.iter().map(String::as_str)), Some(ancestry.clone()));
        assert_eq!(Ancestry::from_bytes(&ancestry.to_bytes()), ancestry);
        assert!(
            contents[19].to_string().contains(&texts[0]),
            "the first of them is a prefix of the hash as it is written"
        );
        for bad in ["", "0", "000000000000000G", "+00000000000000f", "ABCDEFABCDEFABCD"] {
            assert_eq!(Ancestry::parse([bad]), None, "{bad}");
        }
        assert_eq!(ancestry.after(&contents[15]).texts().count(), MAX_ANCESTORS);
    }
}
