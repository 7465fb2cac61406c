//! Numbers: from a literal of any length to the nearest double, and from a double to its shortest digits.

/// Longest literal that is handed to the standard library as it is. Its parser stops counting an exponent at 65,536, which only
/// matters where as many digits could make up for it.
const SHORT: usize = 512;

/// Digits that can influence the nearest double: no tie between two doubles has more than 767.
const SIGNIFICANT: usize = 800;

/// The double nearest to a JSON number literal, ties to even; infinite when it is out of range. Linear in the literal's length.
pub(super) fn to_f64(literal: &[u8]) -> f64 {
    if literal.len() <= SHORT { parse(literal) } else { parse(&shortened(literal)) }
}

fn parse(literal: &[u8]) -> f64 {
    std::str::from_utf8(literal).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY)
}

/// A literal of bounded length that has the same nearest double.
fn shortened(literal: &[u8]) -> Vec<u8> {
    let (negative, unsigned) = match literal {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, literal),
    };
    let mantissa_length = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at_checked(mantissa_length).unwrap_or((unsigned, &[]));
    let whole_length = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());

    let digits = || mantissa.iter().copied().filter(u8::is_ascii_digit);
    let leading_zeros = digits().take_while(|digit| *digit == b'0').count();
    let mut out = if negative { b"-0.".to_vec() } else { b"0.".to_vec() };
    out.extend(digits().skip(leading_zeros).take(SIGNIFICANT));
    if digits().skip(leading_zeros + SIGNIFICANT).any(|digit| digit != b'0') {
        // Only whether anything follows can still decide a tie.
        out.push(b'1');
    }
    let point = signed(whole_length) - signed(leading_zeros) + read_exponent(exponent);
    out.extend_from_slice(format!("0e{}", point.clamp(-9_999, 9_999)).as_bytes());
    out
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The value of `e+5`, `E-07` or nothing; stops growing far beyond what any text's digits could make up for.
pub(super) fn read_exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [_, b'-', digits @ ..] => (true, digits),
        [_, b'+', digits @ ..] | [_, digits @ ..] => (false, digits),
        [] => return 0,
    };
    let magnitude = digits
        .iter()
        .fold(0_i64, |value, digit| (value * 10 + i64::from(digit.wrapping_sub(b'0'))).min(1_000_000_000_000));
    if negative { -magnitude } else { magnitude }
}

/// The shortest digits that read back as one finite, non-zero double; of several such, those nearest to it.
pub(super) struct Shortest {
    buffer: [u8; 32],
    length: usize,
    /// The decimal exponent of the first digit: 0 for 1 to 9.99….
    pub(super) exponent: i32,
}

impl Shortest {
    /// The sign of `value` is ignored; zero, infinities and NaN are the caller's to write.
    pub(super) fn of(value: f64) -> Self {
        // Not the standard library's `{:e}`: it breaks ties between equally short digits upwards, CPython and ECMAScript to even.
        let mut zmij = zmij::Buffer::new();
        let text = zmij.format_finite(value.abs());
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut shortest = Self { buffer: [b'0'; 32], length: 0, exponent: exponent.parse().unwrap_or_default() };
        let mut leading_zeros = 0;
        let mut end = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            if digit == b'0' && end == 0 {
                leading_zeros += 1;
                continue;
            }
            if let Some(slot) = shortest.buffer.get_mut(end) {
                *slot = digit;
            }
            end += 1;
            if digit != b'0' {
                shortest.length = end;
            }
        }
        shortest.length = shortest.length.max(1);
        shortest.exponent += i32::try_from(whole.len()).unwrap_or_default() - 1 - leading_zeros;
        shortest
    }

    /// The digits, neither leading nor trailing zeros.
    pub(super) fn digits(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    /// The digits with a point after the first `whole`, which must be fewer than there are.
    pub(super) fn write_split(&self, whole: usize, out: &mut Vec<u8>) {
        if let Some((before, after)) = self.digits().split_at_checked(whole) {
            out.extend_from_slice(before);
            out.push(b'.');
            out.extend_from_slice(after);
        }
    }

    /// `1.5e` or `1e`: all digits in scientific notation, up to and with the `e`.
    pub(super) fn write_mantissa(&self, out: &mut Vec<u8>) {
        if self.length == 1 {
            out.extend_from_slice(self.digits());
        } else {
            self.write_split(1, out);
        }
        out.push(b'e');
    }
}

/// Appends `count` zeros.
pub(super) fn write_zeros(count: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + count, b'0');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn long_literals_read_as_their_short_equals() {
        let zeros = "0".repeat(700_000);
        for (literal, expected) in [
            (format!("0.{zeros}1e700001"), 1.0),
            (format!("1{zeros}e-700000"), 1.0),
            (format!("-1{zeros}e-700000"), -1.0),
            (format!("0.{zeros}"), 0.0),
            (format!("0.{zeros}e99999999999999999999"), 0.0),
            (format!("1.{zeros}e400"), f64::INFINITY),
            (format!("1.5e{zeros}2"), 150.0),
            (format!("1.5e-{zeros}2"), 0.015),
            (format!("9007199254740993.{zeros}"), 9_007_199_254_740_992.0),
            (format!("9007199254740993.{zeros}1"), 9_007_199_254_740_994.0),
            (format!("1e{zeros}"), 1.0),
        ] {
            assert_eq!(to_f64(literal.as_bytes()).to_bits(), f64::to_bits(expected), "{}", &literal[..30]);
        }
    }

    #[test]
    fn the_longest_tie_is_decided_by_its_last_digit() {
        // Half of the least subnormal, 2^-1075: 767 significant digits, and one more tips it.
        let half = format!("{:.1075}", 2_f64.powi(-1074)).parse::<f64>().unwrap() / 2.0;
        assert_eq!(half, 0.0);
        let mut digits = vec![0_u8; 1];
        digits[0] = 1;
        // 2^-1075 = 5^1075 / 10^1075, by hand: multiply by five 1,075 times.
        for _ in 0..1075 {
            let mut carry = 0;
            for digit in &mut digits {
                carry += *digit * 5;
                *digit = carry % 10;
                carry /= 10;
            }
            if carry > 0 {
                digits.push(carry);
            }
        }
        let digits: String = digits.iter().rev().map(|digit| char::from(digit + b'0')).collect();
        let tie = format!("0.{}{digits}", "0".repeat(1075 - digits.len()));
        assert_eq!(to_f64(tie.as_bytes()), 0.0);
        assert_eq!(to_f64(format!("{tie}{}1", "0".repeat(5_000)).as_bytes()), 5e-324);
        assert_eq!(to_f64(format!("{tie}{}", "0".repeat(5_000)).as_bytes()), 0.0);
    }

    #[test]
    fn a_long_literal_takes_linear_time() {
        let literal = format!("1.{}e5", "7".repeat(16 << 20));
        let start = Instant::now();
        assert!(to_f64(literal.as_bytes()).is_finite());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn shortest_digits_have_the_exponent_of_their_first() {
        for (value, digits, exponent) in [
            (1.0, "1", 0),
            (-123.5, "1235", 2),
            (0.001, "1", -3),
            (1e23, "1", 23),
            (5e-324, "5", -324),
            (f64::MAX, "17976931348623157", 308),
            (100.0, "1", 2),
        ] {
            let shortest = Shortest::of(value);
            assert_eq!((shortest.digits(), shortest.exponent), (digits.as_bytes(), exponent), "{value:e}");
        }
    }
}
