//! The rule that no object has two members of one name.

use super::{Frame, Gate, Refusal, refuse};
use crate::json::{
    error::JsonErrorKind,
    escape,
    tape::{Tag, Token, keys_of},
};
use std::collections::HashSet;

/// Up to so many members, comparing each pair of keys is faster than hashing them.
const PAIRWISE_MEMBERS: usize = 16;

/// Characters of a duplicate key that an error repeats.
const KEY_CHARACTERS: usize = 64;

/// What is known of an open object's keys.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    last: Option<Token>,
    /// Each key so far is greater than the one before, in bytes, and none has an escape: there is no duplicate.
    ascending: bool,
    /// All keys so far are printable ASCII without escapes.
    plain: bool,
    escaped: bool,
}

impl Keys {
    pub(super) const NONE: Self = Self { last: None, ascending: true, plain: true, escaped: false };

    #[inline]
    pub(super) fn add(&mut self, key: Token, source: &[u8]) {
        match key.tag() {
            Tag::PlainString => {}
            Tag::EscapedString => {
                self.escaped = true;
                self.ascending = false;
                self.plain = false;
            }
            _ => self.plain = false,
        }
        if self.ascending {
            self.ascending = self.last.is_none_or(|last| last.inner(source) < key.inner(source));
            self.last = Some(key);
        }
    }

    #[inline]
    pub(super) fn are_surely_unique(self) -> bool {
        self.ascending
    }

    /// Whether they stand as every canonical form wants them.
    #[inline]
    pub(super) fn are_canonical(self) -> bool {
        self.ascending && self.plain
    }
}

impl Gate<'_> {
    pub(super) fn refuse_duplicates(&self, frame: Frame, keys: Keys) -> Result<(), Refusal> {
        let repeated = if keys.escaped || frame.count > PAIRWISE_MEMBERS {
            // The hasher is keyed at random, so that nobody can choose keys that collide.
            let mut seen = HashSet::with_capacity(frame.count);
            keys_of(&self.tokens, frame.open)
                .map(|(key, _)| key)
                .find(|key| !seen.insert(escape::unescape(key.inner(self.source))))
        } else {
            let mut seen: [&[u8]; PAIRWISE_MEMBERS] = [&[]; PAIRWISE_MEMBERS];
            keys_of(&self.tokens, frame.open)
                .map(|(key, _)| key)
                .zip(0..)
                .find(|(key, before)| {
                    let inner = key.inner(self.source);
                    let repeated = seen.iter().take(*before).any(|earlier| *earlier == inner);
                    if let Some(slot) = seen.get_mut(*before) {
                        *slot = inner;
                    }
                    repeated
                })
                .map(|(key, _)| key)
        };
        match repeated {
            None => Ok(()),
            Some(key) => {
                let name = escape::unescape(key.inner(self.source));
                let mut shown: String = name.chars().take(KEY_CHARACTERS).collect();
                if shown.len() < name.len() {
                    shown.push('…');
                }
                refuse(JsonErrorKind::DuplicateKey { key: shown }, key.at())
            }
        }
    }
}
