//! Which of two versions of one node counts (DESIGN 4.7). Pure: versions and a time in, a verdict out.

/// How far ahead of our clock a version may be dated: as far as a manifest.
pub use crate::trust::MAX_SKEW as MAX_AHEAD;

use crate::types::{ContentHash, Timestamp};

/// One version of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its own `updated_at`.
    pub stated: Option<Timestamp>,
    /// When it was first seen here; counts for what is held and states no time.
    pub first_seen: Timestamp,
    /// Its content hash.
    pub content_hash: ContentHash,
}

/// What to do with a version that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Store it.
    Take,
    /// The version that is held counts.
    Keep,
    /// Both are the same.
    Same,
    /// It is dated too far ahead to be believed.
    Ahead,
}

/// Judges `offered` against `held`.
///
/// * The later `updated_at` wins; of two equal ones the greater content hash, so that every instance decides alike.
/// * An offered version without a time loses to one that states its time: that one was edited since times were kept. Where
///   neither states one, the greater content hash wins.
#[must_use]
pub fn judge(held: Option<Version>, offered: Version, now: Timestamp) -> Verdict {
    if offered.stated.is_some_and(|stated| stated > now.plus(MAX_AHEAD)) {
        return Verdict::Ahead;
    }
    let Some(held) = held else { return Verdict::Take };
    if held.content_hash == offered.content_hash {
        return Verdict::Same;
    }
    let held_hash = held.content_hash.as_bytes();
    let offered_hash = offered.content_hash.as_bytes();
    let wins = match (held.stated, offered.stated) {
        (stated, Some(offered)) => (offered, offered_hash) > (stated.unwrap_or(held.first_seen), held_hash),
        (Some(_), None) => false,
        (None, None) => offered_hash > held_hash,
    };
    if wins { Verdict::Take } else { Verdict::Keep }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    fn version(stated: Option<i64>, content: &str) -> Version {
        let stated = stated.map(Timestamp::from_seconds);
        Version { stated, first_seen: Timestamp::from_seconds(500), content_hash: ContentHash::of(content.as_bytes()) }
    }

    #[test]
    fn the_later_version_wins_and_a_tie_is_decided_alike_on_both_sides() {
        let (older, newer) = (version(Some(10), "a"), version(Some(11), "b"));
        assert_eq!(judge(Some(older), newer, NOW), Verdict::Take);
        assert_eq!(judge(Some(newer), older, NOW), Verdict::Keep);
        assert_eq!(judge(None, older, NOW), Verdict::Take);
        assert_eq!(judge(Some(older), older, NOW), Verdict::Same);
        for stated in [Some(10), None] {
            let (left, right) = (version(stated, "a"), version(stated, "b"));
            assert_ne!(judge(Some(left), right, NOW), judge(Some(right), left, NOW));
        }
    }

    #[test]
    fn a_version_without_a_time_counts_from_its_first_sight_and_never_replaces_a_dated_one() {
        assert_eq!(judge(Some(version(None, "a")), version(Some(501), "b"), NOW), Verdict::Take);
        assert_eq!(judge(Some(version(None, "a")), version(Some(499), "b"), NOW), Verdict::Keep);
        assert_eq!(judge(Some(version(Some(1), "a")), version(None, "b"), NOW), Verdict::Keep);
    }

    #[test]
    fn a_version_from_the_future_is_not_believed() {
        assert_eq!(judge(None, version(Some(1_000_301), "a"), NOW), Verdict::Ahead);
        assert_eq!(judge(None, version(Some(1_000_300), "a"), NOW), Verdict::Take);
    }
}
