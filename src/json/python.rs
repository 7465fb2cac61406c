//! CPython's form: the bytes of `json.dumps(value, sort_keys=True)`, which the seeds' clients sign (DESIGN 4.1).

use super::{
    Value,
    canonical::{self, Form},
    escape,
    number::{Shortest, write_zeros},
    scan,
};
use std::{cmp::Ordering, convert::Infallible};

/// Appends what CPython 3.11 makes of `value` with `json.dumps(value, sort_keys=True)`.
///
/// `, ` and `: ` between the parts; keys by code point; strings in ASCII with lower-case `\uXXXX`, 0x7f included, and surrogate
/// pairs beyond U+FFFF; integers with all their digits, `-0` as `0`; other numbers as `float.__repr__` prints them.
pub fn write(value: Value<'_>, out: &mut Vec<u8>) {
    let Ok(()) = canonical::write(&Python, value, out);
}

struct Python;

impl Form for Python {
    type Error = Infallible;
    const COMMA: &'static [u8] = b", ";
    const COLON: &'static [u8] = b": ";

    fn order(left: &str, right: &str) -> Ordering {
        // UTF-8 sorts as its code points do.
        left.cmp(right)
    }

    fn text(run: &[u8], out: &mut Vec<u8>) {
        let mut rest = escape::text(run);
        while !rest.is_empty() {
            let (plain, other) = rest.split_at_checked(scan::plain_prefix(rest.as_bytes())).unwrap_or((rest, ""));
            out.extend_from_slice(plain.as_bytes());
            let (beyond, tail) =
                other.split_at_checked(scan::beyond_ascii_prefix(other.as_bytes())).unwrap_or((other, ""));
            for unit in beyond.encode_utf16() {
                escape::write_code_unit(unit, out);
            }
            rest = tail;
        }
    }

    fn escaped(character: char, out: &mut Vec<u8>) {
        if escape::write_short_escape(character, out) {
            return;
        }
        match u8::try_from(character) {
            Ok(byte) if scan::is_plain(byte) => out.push(byte),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    escape::write_code_unit(*unit, out);
                }
            }
        }
    }

    fn integer(&self, literal: &[u8], _offset: usize, out: &mut Vec<u8>) -> Result<(), Infallible> {
        out.extend_from_slice(literal);
        Ok(())
    }

    fn float(number: f64, out: &mut Vec<u8>) {
        write_float(number, out);
    }
}

/// `float.__repr__` of a finite number: CPython's `format_float_short` with `r`, point notation from 1e-4 up to below 1e16.
fn write_float(number: f64, out: &mut Vec<u8>) {
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if number == 0.0 {
        out.extend_from_slice(b"0.0");
        return;
    }
    let shortest = Shortest::of(number);
    let digits = shortest.digits();
    match shortest.exponent {
        exponent @ 0..16 => {
            let whole = usize::try_from(exponent + 1).unwrap_or_default();
            if digits.len() > whole {
                shortest.write_split(whole, out);
            } else {
                out.extend_from_slice(digits);
                write_zeros(whole - digits.len(), out);
                out.extend_from_slice(b".0");
            }
        }
        exponent @ -4..0 => {
            out.extend_from_slice(b"0.");
            write_zeros(usize::try_from(-exponent - 1).unwrap_or_default(), out);
            out.extend_from_slice(digits);
        }
        exponent => {
            shortest.write_mantissa(out);
            out.push(if exponent < 0 { b'-' } else { b'+' });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            out.extend_from_slice(exponent.abs().to_string().as_bytes());
        }
    }
}
