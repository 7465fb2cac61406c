//! RFC 8785, the JSON Canonicalization Scheme: content hashes and the `jcs` signatures are made over its bytes.

use super::{
    Value,
    canonical::{self, Form},
    escape,
    number::{Shortest, write_zeros},
};
use crate::types::ContentHash;
use std::cmp::Ordering;

/// 2^53 − 1: beyond it a double, which is all the numbers that JCS knows, no longer tells neighbouring integers apart.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// What to do with integer literals beyond ±(2^53 − 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integers {
    /// Keep their exact digits: content hashes, so that no two such integers share one.
    Exact,
    /// Refuse them, as the RFC's own profile, I-JSON, asks (RFC 8785 section 3.1, RFC 7493 section 2.2): signatures.
    Refuse,
}

/// An integer beyond ±(2^53 − 1) in a document that must be plain JCS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the integer at byte {offset} is beyond ±(2^53−1)")]
pub struct JcsError {
    /// Where the integer stands, in bytes from the start of the document.
    pub offset: usize,
}

/// Appends the canonical bytes of `value`: no white space, keys by UTF-16 code units (section 3.2.3), strings with the fewest
/// escapes (3.2.2.2), numbers as ECMAScript prints them (3.2.2.3).
///
/// Only literals without fraction and exponent are integers here; `1e300` is a double like any other.
///
/// # Errors
/// [`JcsError`] with [`Integers::Refuse`] only; `out` then ends somewhere within the value.
pub fn write(value: Value<'_>, integers: Integers, out: &mut Vec<u8>) -> Result<(), JcsError> {
    canonical::write(&Jcs { integers }, value, out)
}

/// SHA-256 over the canonical bytes with exact integers.
#[must_use]
pub fn content_hash(value: Value<'_>) -> ContentHash {
    let mut bytes = Vec::with_capacity(value.span().len());
    // Exact integers leave nothing to refuse.
    let _ = write(value, Integers::Exact, &mut bytes);
    ContentHash::of(&bytes)
}

struct Jcs {
    integers: Integers,
}

impl Form for Jcs {
    type Error = JcsError;
    const COMMA: &'static [u8] = b",";
    const COLON: &'static [u8] = b":";

    fn order(left: &str, right: &str) -> Ordering {
        let differing = left.bytes().zip(right.bytes()).find(|(left, right)| left != right);
        differing.map_or_else(|| left.len().cmp(&right.len()), |(left, right)| utf16_rank(left).cmp(&utf16_rank(right)))
    }

    fn text(run: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(run);
    }

    fn escaped(character: char, out: &mut Vec<u8>) {
        if escape::write_short_escape(character, out) {
            return;
        }
        match character {
            '\0'..' ' => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    escape::write_code_unit(*unit, out);
                }
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    fn integer(&self, literal: &[u8], offset: usize, out: &mut Vec<u8>) -> Result<(), JcsError> {
        if self.integers == Integers::Refuse && !is_safe(literal) {
            return Err(JcsError { offset });
        }
        out.extend_from_slice(literal);
        Ok(())
    }

    fn float(number: f64, out: &mut Vec<u8>) {
        write_float(number, out);
    }
}

/// Makes UTF-8 sort as UTF-16 does: there, surrogates put what is beyond U+FFFF (lead bytes F0 to F4) before U+E000 to U+FFFF (EE
/// and EF); everything else sorts alike in both.
fn utf16_rank(byte: u8) -> u8 {
    if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte }
}

fn is_safe(literal: &[u8]) -> bool {
    let digits = literal.strip_prefix(b"-").unwrap_or(literal);
    // 2^53 has sixteen digits.
    digits.len() < 16
        || digits.len() == 16 && escape::text(digits).parse().is_ok_and(|value: u64| value <= MAX_SAFE_INTEGER)
}

/// ECMAScript's `Number::toString` of a finite number (ECMA-262 section 6.1.6.1.20, as RFC 8785 section 3.2.2.3 asks).
fn write_float(number: f64, out: &mut Vec<u8>) {
    if number == 0.0 {
        out.push(b'0');
        return;
    }
    if number < 0.0 {
        out.push(b'-');
    }
    let shortest = Shortest::of(number);
    let digits = shortest.digits();
    match shortest.exponent {
        exponent @ 0..21 => {
            let whole = usize::try_from(exponent + 1).unwrap_or_default();
            if digits.len() > whole {
                shortest.write_split(whole, out);
            } else {
                out.extend_from_slice(digits);
                write_zeros(whole - digits.len(), out);
            }
        }
        exponent @ -6..0 => {
            out.extend_from_slice(b"0.");
            write_zeros(usize::try_from(-exponent - 1).unwrap_or_default(), out);
            out.extend_from_slice(digits);
        }
        exponent => {
            shortest.write_mantissa(out);
            out.push(if exponent < 0 { b'-' } else { b'+' });
            out.extend_from_slice(exponent.abs().to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_sort_by_utf_16_code_units(left in "[a-c\u{7f}-\u{82}\u{7ff}-\u{801}\u{d7ff}\u{e000}\u{fffe}-\u{10001}\u{10ffff}]{0,4}",
                                          right in "[a-c\u{7f}-\u{82}\u{7ff}-\u{801}\u{d7ff}\u{e000}\u{fffe}-\u{10001}\u{10ffff}]{0,4}") {
            prop_assert_eq!(Jcs::order(&left, &right), left.encode_utf16().cmp(right.encode_utf16()));
        }
    }
}
