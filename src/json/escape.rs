//! Strings between their quotes: runs of text as it stands, and escapes.

use memchr::memchr;
use std::borrow::Cow;

/// A part of a string that passed the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text without escapes; never empty.
    Text(&'a [u8]),
    /// What an escape, or a pair of surrogate escapes, stands for.
    Escape(char),
}

/// The pieces of `inner`, which is the text between the quotes.
#[derive(Debug, Clone)]
pub(super) struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    pub(super) fn new(inner: &'a [u8]) -> Self {
        Self { rest: inner }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    #[inline]
    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        if let Ok((character, length)) = escape(self.rest) {
            self.rest = self.rest.get(length..).unwrap_or_default();
            return Some(Piece::Escape(character));
        }
        // The gate has seen the string, so what does not start an escape is text; the search starts at the second byte so that
        // the iterator advances whatever it is given.
        let length = self.rest.get(1..).and_then(|tail| memchr(b'\\', tail)).map_or(self.rest.len(), |at| at + 1);
        let (text, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        Some(Piece::Text(text))
    }
}

/// Why bytes do not start with an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EscapeError {
    /// They end too early.
    Truncated,
    /// They start with no backslash, or it starts none of the escapes of RFC 8259 section 7.
    Malformed,
    /// A surrogate without its other half.
    LoneSurrogate,
}

/// Reads the escape that `bytes` start with: its character, and its length in bytes (12 for a pair of surrogates).
pub(super) fn escape(bytes: &[u8]) -> Result<(char, usize), EscapeError> {
    let simple = match bytes {
        [b'\\', b'"', ..] => '"',
        [b'\\', b'\\', ..] => '\\',
        [b'\\', b'/', ..] => '/',
        [b'\\', b'b', ..] => '\u{8}',
        [b'\\', b'f', ..] => '\u{c}',
        [b'\\', b'n', ..] => '\n',
        [b'\\', b'r', ..] => '\r',
        [b'\\', b't', ..] => '\t',
        [b'\\', b'u', digits @ ..] => return unicode(digits),
        [b'\\'] => return Err(EscapeError::Truncated),
        _ => return Err(EscapeError::Malformed),
    };
    Ok((simple, 2))
}

/// `digits` is what follows `\u`.
fn unicode(digits: &[u8]) -> Result<(char, usize), EscapeError> {
    let first = code_unit(digits)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    if first >= 0xdc00 {
        return Err(EscapeError::LoneSurrogate);
    }
    let second = match digits.get(4..) {
        Some([b'\\', b'u', second @ ..]) => code_unit(second)?,
        _ => return Err(EscapeError::LoneSurrogate),
    };
    if !(0xdc00..0xe000).contains(&second) {
        return Err(EscapeError::LoneSurrogate);
    }
    let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(scalar).map(|character| (character, 12)).ok_or(EscapeError::LoneSurrogate)
}

/// The four hex digits at the start of `digits`, of either case.
fn code_unit(digits: &[u8]) -> Result<u32, EscapeError> {
    let mut unit = 0;
    for position in 0..4 {
        let digit = digits.get(position).ok_or(EscapeError::Truncated)?;
        unit = unit << 4 | char::from(*digit).to_digit(16).ok_or(EscapeError::Malformed)?;
    }
    Ok(unit)
}

/// The string that `inner` stands for.
pub(super) fn unescape(inner: &[u8]) -> Cow<'_, str> {
    if memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(text(inner));
    }
    let mut out = String::with_capacity(inner.len());
    for piece in Pieces::new(inner) {
        match piece {
            Piece::Text(run) => out.push_str(text(run)),
            Piece::Escape(character) => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// Bytes of a document as text: the gate has checked that they are UTF-8, and no span cuts a character.
#[inline]
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Appends `\uXXXX`, lower case.
pub(super) fn write_code_unit(unit: u16, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| HEX.get(usize::from(unit >> shift & 15)).copied().unwrap_or_default();
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Appends the escape of a character that both canonical forms write with two characters; false where they have none.
pub(super) fn write_short_escape(character: char, out: &mut Vec<u8>) -> bool {
    let escape: &[u8; 2] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\u{8}' => b"\\b",
        '\u{c}' => b"\\f",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        _ => return false,
    };
    out.extend_from_slice(escape);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_with_their_length() {
        for (source, expected) in [
            (r#"\"x"#, ('"', 2)),
            (r"\/", ('/', 2)),
            (r"\b", ('\u{8}', 2)),
            (r"\u00e9", ('é', 6)),
            (r"\uD83D\uDE00", ('😀', 12)),
            (r"\uffff", ('\u{ffff}', 6)),
        ] {
            assert_eq!(escape(source.as_bytes()), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_is_no_escape_says_why() {
        for (source, expected) in [
            ("\\", EscapeError::Truncated),
            ("\\u12", EscapeError::Truncated),
            ("\\ud83d\\u12", EscapeError::Truncated),
            ("\\x41", EscapeError::Malformed),
            ("\\u+123", EscapeError::Malformed),
            ("\\u12g4", EscapeError::Malformed),
            ("a", EscapeError::Malformed),
            ("\\ud83d", EscapeError::LoneSurrogate),
            ("\\ud83dx", EscapeError::LoneSurrogate),
            ("\\ud83d\\n", EscapeError::LoneSurrogate),
            ("\\ud83d\\u0041", EscapeError::LoneSurrogate),
            ("\\ud83d\\ud83d", EscapeError::LoneSurrogate),
            ("\\ude00", EscapeError::LoneSurrogate),
        ] {
            assert_eq!(escape(source.as_bytes()), Err(expected), "{source}");
        }
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        assert!(matches!(unescape("é".as_bytes()), Cow::Borrowed("é")));
        assert_eq!(unescape(br"a\u0062\nc\\"), "ab\nc\\");
    }
}
