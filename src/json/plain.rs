//! Reads text of a known shape in one pass, and knows when to give up. Whatever this finds right, the gate finds right too and reads
//! alike; of all the rest, right or wrong, it says nothing (`None`), and the gate is to be asked.

use super::{scan, tape::MAX_BYTES};
use std::ops::Range;

/// Where the reader stands in the text.
#[derive(Debug, Clone)]
pub struct Plain<'a> {
    source: &'a [u8],
    /// As [`scan::is_simple`] says.
    is_simple: bool,
    at: usize,
}

impl<'a> Plain<'a> {
    /// At the beginning of a text that is not longer than the gate allows.
    #[must_use]
    pub fn new(source: &'a [u8]) -> Option<Self> {
        (source.len() <= MAX_BYTES).then(|| Self { source, is_simple: scan::is_simple(source), at: 0 })
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.source.get(self.at..).unwrap_or_default()
    }

    /// Skips white space.
    #[inline]
    pub fn skip_space(&mut self) {
        self.at += scan::space_prefix(self.rest());
    }

    /// Skips white space and then, if it stands here, `byte`. Answers whether it did.
    #[inline]
    pub fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.rest().first() == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// Skips white space and `text`, which is there or the reader gives up.
    #[inline]
    pub fn expect(&mut self, text: &[u8]) -> Option<()> {
        self.skip_space();
        if !self.rest().starts_with(text) {
            return None;
        }
        self.at += text.len();
        Some(())
    }

    /// Skips white space and reads a string without escapes and control characters (U+007F to U+009F are some): where it stands
    /// between its quotes.
    #[inline]
    pub fn string(&mut self) -> Option<Range<usize>> {
        self.expect(b"\"")?;
        let start = self.at;
        self.at += if self.is_simple { scan::quote_prefix(self.rest()) } else { scan::plain_prefix(self.rest()) };
        if self.rest().first() != Some(&b'"') {
            self.beyond_ascii(start)?;
        }
        let end = self.at;
        self.at += 1;
        Some(start..end)
    }

    /// Reads two strings and the object around them, where exactly these texts stand in front of the first one (its quote included),
    /// between both, and behind the second one. Stays where it is otherwise.
    #[inline]
    pub fn pair(&mut self, [before, between, behind]: [&[u8]; 3]) -> Option<[Range<usize>; 2]> {
        if !self.is_simple {
            return None;
        }
        let mut at = self.at;
        let mut string_after = |text: &[u8]| {
            let rest = self.source.get(at..)?.strip_prefix(text)?;
            let start = at + text.len();
            at = start + scan::quote_prefix(rest);
            Some(start..at)
        };
        let strings = [string_after(before)?, string_after(between)?];
        if !self.source.get(at..)?.starts_with(behind) {
            return None;
        }
        self.at = at + behind.len();
        Some(strings)
    }

    /// Reads on to the closing quote of the string that began at `start`.
    #[cold]
    fn beyond_ascii(&mut self, start: usize) -> Option<()> {
        loop {
            match self.rest().first()? {
                b'"' => break,
                0x80.. => self.at += scan::beyond_ascii_prefix(self.rest()),
                // A backslash, or a control character.
                _ => return None,
            }
            self.at += scan::plain_prefix(self.rest());
        }
        let text = std::str::from_utf8(self.source.get(start..self.at)?).ok()?;
        (!text.contains(char::is_control)).then_some(())
    }

    /// Skips white space and reads an integer from 0 on of few digits.
    pub fn integer(&mut self) -> Option<u64> {
        self.skip_space();
        let digits = self.rest().get(..scan::digit_prefix(self.rest()))?;
        if digits.is_empty() || digits.len() > 9 || digits.len() > 1 && digits.first() == Some(&b'0') {
            return None;
        }
        self.at += digits.len();
        if matches!(self.rest().first(), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    /// Skips white space and answers whether the text ends here.
    #[must_use]
    pub fn ends(mut self) -> bool {
        self.skip_space();
        self.rest().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Document;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn string(text: &[u8]) -> Option<&str> {
        let mut plain = Plain::new(text)?;
        let range = plain.string()?;
        plain.ends().then_some(())?;
        std::str::from_utf8(&text[range]).ok()
    }

    fn integer(text: &[u8]) -> Option<u64> {
        let mut plain = Plain::new(text)?;
        let number = plain.integer()?;
        plain.ends().then_some(number)
    }

    #[test]
    fn what_needs_a_thought_is_left_to_the_gate() {
        assert_eq!(string(b" \"a b\" "), Some("a b"));
        assert_eq!(string("\"aéb☃\"".as_bytes()), Some("aéb☃"));
        for other in ["\"é\u{7f}\"", "\"\u{7f}\"", "\"é\u{85}\""] {
            assert_eq!(string(other.as_bytes()), None, "{other:?}");
        }
        for other in [&b"\"a"[..], b"\"a\\n\"", b"\"a\x01\"", b"\"\xff\"", b"\"a\xc3\"", b"a", b"", b"\"a\"x"] {
            assert_eq!(string(other), None, "{other:?}");
        }
        assert_eq!(integer(b" 120 "), Some(120));
        assert_eq!(integer(b"0"), Some(0));
        for other in [&b"01"[..], b"-1", b"1.0", b"1e3", b"1234567890", b"", b"1a"] {
            assert_eq!(integer(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_pair_is_read_where_it_stands_exactly_so() {
        const AROUND: [&[u8]; 3] = [b"{\"a\":\"", b"\",\"b\":\"", b"\"}"];
        let text = b"{\"a\":\"one\",\"b\":\"\"},{\"a\":\"o\"}";
        let mut plain = Plain::new(text).unwrap();
        let [one, none] = plain.pair(AROUND).unwrap();
        assert_eq!((&text[one], &text[none]), (&b"one"[..], &b""[..]));
        assert!(plain.take(b',') && plain.pair(AROUND).is_none());
        assert!(plain.take(b'{'), "it stays where it was");
        for other in [
            &b"{\"a\":\"one\",\"b\":\"x"[..],
            b"{\"a\":\"one\",\"b\":\"x\"",
            b"{\"a\":\"one\",\"b\":\"x\" }",
            b"{\"a\":\"one\", \"b\":\"x\"}",
            b" {\"a\":\"one\",\"b\":\"x\"}",
            b"{\"a\":\"o\\e\",\"b\":\"x\"}",
            b"{\"a\":\"o\x7fe\",\"b\":\"x\"}",
            b"{\"a\":\"",
            b"",
        ] {
            assert!(Plain::new(other).unwrap().pair(AROUND).is_none(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_gate_reads(text in "[ \"\\\\a0-9.eé\u{1}\u{7f}\u{85}-]{0,8}", cut in proptest::collection::vec(any::<u8>(), 0..3)) {
            for text in [text.clone().into_bytes(), format!("\"{text}\"").into_bytes(), [b"\"", &cut[..], b"\""].concat()] {
                let read = Document::parse(Bytes::from(text.clone()), 4);
                if let Some(string) = string(&text) {
                    prop_assert_eq!(read.as_ref().unwrap().root().as_str().unwrap(), string);
                }
                if let Some(number) = integer(&text) {
                    prop_assert_eq!(read.as_ref().unwrap().root().as_unsigned(), Some(number));
                }
            }
        }
    }
}
