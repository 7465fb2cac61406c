//! What each level may do: one table, which `docs/SECURITY.md` repeats for people; a test compares the two.

use super::{TrustLevel, TrustMode};

/// Something that one key may do here and another may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Have its manifest registered.
    Register,
    /// Be shown to others, with its level.
    Listed,
    /// Read nodes. Reading asks for no signature, so this says who is turned away where he says who he is.
    Read,
    /// Have its nodes taken by this instance's own rounds.
    PulledFrom,
    /// Change nodes here.
    Push,
    /// Help another key to become verified.
    Vouch,
}

impl Right {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 6] = [Self::Register, Self::Listed, Self::Read, Self::PulledFrom, Self::Push, Self::Vouch];

    /// What the documents call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Listed => "be listed",
            Self::Read => "read",
            Self::PulledFrom => "be pulled from",
            Self::Push => "push",
            Self::Vouch => "vouch",
        }
    }
}

/// Did the admin name an instance, whatever the level of its key? By adding it as a peer, with its key pinned at the first contact, or by
/// giving it the key of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Named {
    /// He did not.
    #[default]
    No,
    /// He did.
    Yes,
}

impl From<bool> for Named {
    fn from(is_named: bool) -> Self {
        if is_named { Self::Yes } else { Self::No }
    }
}

/// The settings that the table depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Who may speak for an id.
    pub mode: TrustMode,
    /// Nodes are exchanged with verified keys only.
    pub require_verified: bool,
    /// Whoever proves that he knows the network's key counts as named by the admin.
    pub network_key_names: bool,
}

impl Default for Rules {
    fn default() -> Self {
        TrustMode::default().into()
    }
}

impl From<TrustMode> for Rules {
    fn from(mode: TrustMode) -> Self {
        Self { mode, require_verified: false, network_key_names: true }
    }
}

impl Rules {
    /// What the rules allow, in one line for people.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match (self.require_verified, self.mode) {
            (true, _) => "changes are taken from verified keys only",
            (_, TrustMode::Open) => "any key may speak for any id, and any client may write: only for a closed network",
            (_, TrustMode::Tofu) => "the first key of an id owns it and may write: not where strangers reach the port",
            (_, TrustMode::Verified) => {
                "any key may register, be listed and read; verified keys and instances that the admin named may write"
            }
            (_, TrustMode::Allowlist) => "only keys of trust.listed may register and write",
        }
    }
}

/// The table: may a key of this level do this?
#[must_use]
pub fn may(level: TrustLevel, named: Named, rules: impl Into<Rules>, right: Right) -> bool {
    let Rules { mode, require_verified, .. } = rules.into();
    match (level, right) {
        (TrustLevel::Verified, _)
        // What was published before stays in sight, marked, until it expires: silence would hide the warning.
        | (_, Right::Listed) => true,
        (TrustLevel::Revoked, _) | (_, Right::Vouch) => false,
        (_, Right::Read) => true,
        (_, Right::Register) => mode != TrustMode::Allowlist,
        (TrustLevel::Unknown | TrustLevel::Pending, Right::PulledFrom | Right::Push) if require_verified => false,
        (TrustLevel::Unknown | TrustLevel::Pending, Right::PulledFrom | Right::Push) => match mode {
            TrustMode::Open => true,
            // Nobody claims an id by being unknown: a key is pending as soon as it speaks for one.
            TrustMode::Tofu => level == TrustLevel::Pending || right == Right::PulledFrom || named == Named::Yes,
            TrustMode::Verified => named == Named::Yes,
            TrustMode::Allowlist => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_documents_is_the_table_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SECURITY.md");
        let document = std::fs::read_to_string(path).expect("the document");
        let table = document.split_once("| level | ").expect("the table").1;
        let mut rows = table.lines();
        let header: Vec<&str> = rows.next().expect("a header").trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(header, Right::ALL.map(Right::as_str));
        let rows: Vec<Vec<&str>> = rows
            .skip(1)
            .map_while(|row| row.strip_prefix('|'))
            .map(|row| row.trim_end_matches('|').split('|').map(str::trim).collect())
            .collect();
        let levels = [TrustLevel::Unknown, TrustLevel::Pending, TrustLevel::Verified, TrustLevel::Revoked];
        assert_eq!(rows.len(), levels.len());
        for (row, level) in rows.iter().zip(levels) {
            assert_eq!(row[0], format!("`{}`", level.as_str()));
            for (cell, right) in row[1..].iter().zip(Right::ALL) {
                assert_eq!(*cell, cell_of(level, right), "{level:?} {right:?}");
            }
        }
    }

    /// A cell as the document writes it: in which modes, and what `named` and `require_verified` change.
    fn cell_of(level: TrustLevel, right: Right) -> &'static str {
        let modes = [TrustMode::Open, TrustMode::Tofu, TrustMode::Verified, TrustMode::Allowlist];
        let plain = modes.map(|mode| may(level, Named::No, mode, right));
        let named = modes.map(|mode| may(level, Named::Yes, mode, right));
        let strict = modes.map(|mode| {
            let rules = Rules { require_verified: true, ..Rules::from(mode) };
            may(level, Named::Yes, rules, right)
        });
        const ALL: [bool; 4] = [true; 4];
        const NONE: [bool; 4] = [false; 4];
        const LISTED_ALONE_NOT: [bool; 4] = [true, true, true, false];
        match (plain, named, strict) {
            (ALL, ALL, ALL) => "yes",
            (NONE, NONE, NONE) => "no",
            (LISTED_ALONE_NOT, LISTED_ALONE_NOT, LISTED_ALONE_NOT) => "not in allowlist",
            ([true, true, false, false], LISTED_ALONE_NOT, NONE) => "open, tofu; verified: if named ¹",
            ([true, false, false, false], LISTED_ALONE_NOT, NONE) => "open; tofu, verified: if named ¹",
            other => panic!("no word for {other:?}"),
        }
    }
}
