//! Strings and numbers.

use super::{Gate, Refusal, refuse};
use crate::json::{
    error::JsonErrorKind,
    escape::{self, EscapeError},
    number, scan,
    tape::{Tag, Token},
};

/// No integer of so many digits is beyond the range of a double, so most numbers need not be converted to know.
const SURELY_FINITE_DIGITS: i64 = 308;

impl Gate<'_> {
    #[inline]
    pub(super) fn scalar(&mut self, tag: Tag, length: usize) -> Token {
        let token = Token::new(tag, self.at, length);
        self.at += length;
        token
    }

    /// Reads the string whose opening quote stands here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Token, Refusal> {
        let start = self.at;
        if self.is_simple {
            let inner = scan::quote_prefix(self.source.get(start + 1..).unwrap_or_default());
            if start + 1 + inner < self.source.len() {
                return Ok(self.scalar(Tag::PlainString, inner + 2));
            }
        }
        let mut tag = Tag::PlainString;
        let mut rest = self.source.get(start + 1..).unwrap_or_default();
        loop {
            rest = rest.get(scan::plain_prefix(rest)..).unwrap_or_default();
            match rest {
                [b'"', ..] => {
                    let end = self.source.len() - rest.len() + 1;
                    return Ok(self.scalar(tag, end - start));
                }
                [b'\\', ..] => {
                    let (_, length) = match escape::escape(rest) {
                        Ok(read) => read,
                        Err(error) => return self.bad_escape(error, rest),
                    };
                    tag = Tag::EscapedString;
                    rest = rest.get(length..).unwrap_or_default();
                }
                [control @ 0..0x20, ..] => {
                    return refuse(JsonErrorKind::ControlCharacter(*control), self.source.len() - rest.len());
                }
                [] => return refuse(JsonErrorKind::Truncated { expected: "a closing quote" }, self.source.len()),
                _ => {
                    if tag == Tag::PlainString {
                        tag = Tag::RawString;
                    }
                    rest = rest.get(scan::beyond_ascii_prefix(rest)..).unwrap_or_default();
                }
            }
        }
    }

    #[cold]
    fn bad_escape(&self, error: EscapeError, rest: &[u8]) -> Result<Token, Refusal> {
        let offset = self.source.len() - rest.len();
        match error {
            EscapeError::Truncated => {
                refuse(JsonErrorKind::Truncated { expected: "the rest of an escape" }, self.source.len())
            }
            EscapeError::Malformed => refuse(JsonErrorKind::BadEscape, offset),
            EscapeError::LoneSurrogate => refuse(JsonErrorKind::LoneSurrogate, offset),
        }
    }

    /// Reads the number whose first character stands here.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Token, Refusal> {
        let text = self.rest();
        let sign = usize::from(text.first() == Some(&b'-'));
        let unsigned = text.get(sign..).unwrap_or_default();
        let whole = scan::digit_prefix(unsigned);
        let mut length = sign + whole;
        match unsigned {
            [b'0', b'0'..=b'9', ..] => return refuse(JsonErrorKind::LeadingZero, self.at + sign),
            [b'0'..=b'9', ..] => {}
            _ if unsigned.starts_with(b"Infinity") => return refuse(JsonErrorKind::NotFinite, self.at),
            _ => return self.bad_number(length, "a digit"),
        }
        let mut tag = Tag::Integer;
        let mut exponent = 0;
        if text.get(length) == Some(&b'.') {
            tag = Tag::Float;
            let digits = scan::digit_prefix(text.get(length + 1..).unwrap_or_default());
            length += 1 + digits;
            if digits == 0 {
                return self.bad_number(length, "a digit after the point");
            }
        }
        if let Some([b'e' | b'E', after @ ..]) = text.get(length..) {
            tag = Tag::Float;
            let sign = usize::from(matches!(after, [b'+' | b'-', ..]));
            let digits = scan::digit_prefix(after.get(sign..).unwrap_or_default());
            if digits == 0 {
                return self.bad_number(length + 1 + sign, "a digit of the exponent");
            }
            let end = length + 1 + sign + digits;
            exponent = number::read_exponent(text.get(length..end).unwrap_or_default());
            length = end;
        }
        if tag == Tag::Float && i64::try_from(whole).unwrap_or(i64::MAX).saturating_add(exponent) > SURELY_FINITE_DIGITS
        {
            let literal = text.get(..length).unwrap_or_default();
            if number::to_f64(literal).is_infinite() {
                return refuse(JsonErrorKind::NotFinite, self.at);
            }
        }
        Ok(self.scalar(tag, length))
    }

    #[cold]
    fn bad_number(&self, length: usize, expected: &'static str) -> Result<Token, Refusal> {
        let offset = self.at + length;
        if offset >= self.source.len() {
            return refuse(JsonErrorKind::Truncated { expected }, offset);
        }
        refuse(JsonErrorKind::BadNumber { expected }, offset)
    }
}
