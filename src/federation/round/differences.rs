//! How two sets differ after a round that goes one way only: which differences the direction explains, and which are left between nodes that
//! should be alike.

use serde::{Deserialize, Serialize};

/// Nodes in which two sets differ. "Here" and "there" as this instance sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Differences {
    /// Both hold them; the version there is newer. Also nodes that were edited there after they were deleted here.
    pub newer_there: u64,
    /// Both hold them; the version here is newer. Also nodes that were edited here after they were deleted there.
    pub newer_here: u64,
    /// They were deleted there, and are here still.
    pub deleted_there: u64,
    /// They were deleted here, and are there still.
    pub deleted_here: u64,
    /// Only the peer ever held them, as far as is known here.
    pub only_there: u64,
    /// Only this instance ever held them, as far as the peer shows.
    pub only_here: u64,
}

impl Differences {
    /// The sets are equal.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Are there nodes that should be alike? Where this instance only sends, everything that it holds should be there; where it only
    /// receives, everything that the peer holds should be here. What the receiver holds beside that is its own.
    #[must_use]
    pub fn are_left(&self, pushes: bool) -> bool {
        let Self { newer_there, newer_here, deleted_there, deleted_here, only_there, only_here } = *self;
        let missing = if pushes { only_here } else { only_there };
        [newer_there, newer_here, deleted_there, deleted_here, missing].into_iter().any(|count| count > 0)
    }
}

/// What was found when the sets stood so; it need not be looked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// The position in their journal.
    pub theirs: u64,
    /// The position in our journal.
    pub ours: u64,
    /// What was found; `None`: the other side cannot tell.
    pub differences: Option<Differences>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_receiver_has_beside_the_senders_nodes_is_its_own() {
        let own = |pushes: bool| Differences {
            only_there: if pushes { 3 } else { 0 },
            only_here: if pushes { 0 } else { 3 },
            ..Differences::default()
        };
        for pushes in [true, false] {
            assert!(!own(pushes).are_left(pushes) && own(!pushes).are_left(pushes));
            let one = |change: fn(&mut Differences)| {
                let mut differences = own(pushes);
                change(&mut differences);
                differences
            };
            for differences in [
                one(|it| it.newer_there = 1),
                one(|it| it.newer_here = 1),
                one(|it| it.deleted_there = 1),
                one(|it| it.deleted_here = 1),
            ] {
                assert!(differences.are_left(pushes), "{differences:?}");
            }
        }
    }
}
