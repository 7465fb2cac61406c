//! Identifiers of nodes (documents) and peers (instances).

use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest id, in Unicode scalar values (DESIGN 4.2).
pub const MAX_ID_CHARS: usize = 256;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("an id must not be empty")]
    Empty,
    /// The text has more than [`MAX_ID_CHARS`] characters.
    #[error("an id has at most {MAX_ID_CHARS} characters, this one has {0}")]
    TooLong(usize),
    /// The text holds a control character (U+0000 to U+001F, U+007F to U+009F).
    #[error("an id must not hold control characters; character {0} is one")]
    Control(usize),
}

/// Without an end before the text's: many bytes at a time are then looked at.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| all & matches!(byte, b' '..=b'~'))
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    // Almost all ids are such: no need to look for characters in them.
    if text.len() <= MAX_ID_CHARS && is_printable_ascii(text) {
        return Ok(());
    }
    // A text of at most MAX_ID_CHARS bytes cannot have more characters than that.
    if text.len() > MAX_ID_CHARS {
        let chars = text.chars().count();
        if chars > MAX_ID_CHARS {
            return Err(IdError::TooLong(chars));
        }
    }
    match text.chars().position(char::is_control) {
        Some(at) => Err(IdError::Control(at)),
        None => Ok(()),
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it. 1 to 256 characters, none of them a control character.
            ///
            /// # Errors
            /// [`IdError`] says which rule the text breaks.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// Checks `text` without keeping it.
            ///
            /// # Errors
            /// As [`Self::parse`].
            pub fn check(text: &str) -> Result<(), IdError> {
                check(text)
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
    };
}

id_type! {
    /// The id of one JSON document of a lattice. Cheap to clone.
    NodeId
}
id_type! {
    /// The id of an instance; the seeds' manifests call it `node_id`. Cheap to clone.
    PeerId
}

/// What the name of a sender that signed nothing begins with, where it is noted. No instance that signs has such an id.
pub const UNSIGNED_PREFIX: &str = "unsigned:";

impl PeerId {
    /// Does it look like the name of a sender that signed nothing? Such an id registers and signs nothing.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(UNSIGNED_PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_256_characters_is_taken_and_of_257_refused() {
        assert!(NodeId::parse(&"é".repeat(256)).is_ok());
        assert_eq!(NodeId::parse(&"é".repeat(257)), Err(IdError::TooLong(257)));
    }

    #[test]
    fn control_characters_and_nothing_are_refused() {
        assert_eq!(PeerId::parse(""), Err(IdError::Empty));
        assert_eq!(PeerId::parse("ab\u{7f}"), Err(IdError::Control(2)));
        assert_eq!(PeerId::parse("\u{85}"), Err(IdError::Control(0)));
        assert!(PeerId::parse("a/b ☃ \u{1F600}").is_ok());
    }
}
