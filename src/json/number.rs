//! Numbers: from a literal of any length to the nearest double, and from a double to its shortest digits.

use super::tie;

/// Longest literal that is handed to the standard library whatever its digits: one of its characters is a point or an `e`.
const SHORT: usize = 20;

/// Longest literal that is handed to it at all. It stops counting an exponent at 65,536, which only matters where as many digits
/// could make up for it.
const LONG: usize = 512;

/// With so many significant digits the standard library always finds the nearest double at once (Mushtak and Lemire, "Fast number
/// parsing without fallback").
const FAST_DIGITS: usize = 19;

/// Digits that can influence the nearest double: no tie between two doubles has more than 767.
const SIGNIFICANT: usize = 800;

/// The double nearest to the literal of a number with fraction or exponent, ties to even; infinite when it is out of range.
///
/// Linear in the literal's length, and fast for hostile literals too.
pub(super) fn to_f64(literal: &[u8]) -> f64 {
    if literal.len() <= SHORT {
        return parse(literal);
    }
    let (negative, unsigned) = match literal {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, literal),
    };
    let mantissa_length = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at_checked(mantissa_length).unwrap_or((unsigned, &[]));
    let leading_zeros = mantissa.iter().take_while(|byte| matches!(byte, b'0' | b'.')).count();
    let significant = mantissa.get(leading_zeros..).unwrap_or_default();
    if significant.len() <= FAST_DIGITS && literal.len() <= LONG {
        return parse(literal);
    }
    let magnitude = of_many_digits(mantissa, exponent);
    if negative { -magnitude } else { magnitude }
}

/// The number where it is an integer from 0 on, however it is written: `2`, `2.0` and `20e-1` are the same number.
pub(super) fn to_unsigned(literal: &str) -> Option<u64> {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let cut = digits.trim_end_matches('0').len();
    let exponent: i64 = exponent.parse().ok()?;
    let zeros = exponent.checked_add(i64::try_from(digits.len() - cut).ok()?)?;
    let zeros = zeros.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let zeros = usize::try_from(zeros).ok().filter(|zeros| *zeros < SHORT && !literal.starts_with('-'))?;
    format!("{significant}{}", "0".repeat(zeros)).parse().ok()
}

fn parse(literal: &[u8]) -> f64 {
    std::str::from_utf8(literal).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY)
}

fn of_many_digits(mantissa: &[u8], exponent: &[u8]) -> f64 {
    let whole_length = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let digits = || mantissa.iter().copied().filter(u8::is_ascii_digit);
    let leading_zeros = digits().take_while(|digit| *digit == b'0').count();
    let mut significant: Vec<u8> = digits().skip(leading_zeros).take(SIGNIFICANT).collect();
    if digits().skip(leading_zeros + SIGNIFICANT).any(|digit| digit != b'0') {
        // Only whether anything follows can still decide a tie.
        significant.push(b'1');
    }
    while significant.last() == Some(&b'0') {
        significant.pop();
    }
    if significant.is_empty() {
        return 0.0;
    }
    // Further out everything is zero or infinite.
    let point = (signed(whole_length) - signed(leading_zeros) + read_exponent(exponent)).clamp(-9_999, 9_999);
    let point = i32::try_from(point).unwrap_or_default();

    let (first, more) = significant.split_at_checked(FAST_DIGITS).unwrap_or((&significant, &[]));
    let first_value = first.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit.wrapping_sub(b'0')));
    let first_exponent = point - i32::try_from(first.len()).unwrap_or_default();
    let scaled = |value: u64| parse(format!("{value}e{first_exponent}").as_bytes());
    let lower = scaled(first_value);
    if more.is_empty() || lower.is_infinite() {
        return lower;
    }
    let upper = scaled(first_value + 1);
    // Nineteen digits are finer than the doubles, so the two are equal or neighbours.
    if lower.to_bits() == upper.to_bits() {
        return lower;
    }
    let exponent = point - i32::try_from(significant.len()).unwrap_or_default();
    if tie::rounds_up(&significant, exponent, lower) { upper } else { lower }
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
    fn decimals_around_the_middle_of_two_doubles_read_as_the_standard_library_reads_them() {
        let mut state = 20_261_121_u64;
        for round in 0..3_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = match round % 4 {
                0 => state >> 12,
                1 => (state >> 2) % (1 << 53),
                2 => f64::MAX.to_bits() - (state >> 61),
                _ => (state >> 1) % f64::MAX.to_bits(),
            };
            let (low, high) = (f64::from_bits(bits), f64::from_bits(bits + 1));
            if high.is_infinite() {
                continue;
            }
            // The exact middle: the exact decimals of both, added and halved digit by digit.
            let (low, high) = (format!("{low:.1080}"), format!("{high:.1080}"));
            let width = low.len().max(high.len());
            let (low, high) = (format!("{low:0>width$}"), format!("{high:0>width$}"));
            let mut carry = 0;
            let mut sums: Vec<u8> = low
                .bytes()
                .zip(high.bytes())
                .rev()
                .filter(|(digit, _)| *digit != b'.')
                .map(|(left, right)| {
                    let sum = left - b'0' + (right - b'0') + carry;
                    carry = sum / 10;
                    sum % 10
                })
                .collect();
            sums.push(carry);
            let mut rest = 0;
            let middle: String = sums
                .iter()
                .rev()
                .map(|digit| {
                    let value = rest * 10 + digit;
                    rest = value % 2;
                    char::from(b'0' + value / 2)
                })
                .collect();
            let middle = middle.trim_start_matches('0');
            let exact = middle.trim_end_matches('0');
            let zeros = middle.len() - exact.len();
            let exponent = i64::try_from(zeros).unwrap() - 1080;
            for digits in [exact.to_owned(), format!("{exact}0001"), exact[..exact.len().min(25)].to_owned()] {
                let scale = exponent + i64::try_from(exact.len()).unwrap() - i64::try_from(digits.len()).unwrap();
                let scale = if digits.len() > exact.len() { exponent - 4 } else { scale };
                let literal = format!("{digits}.0e{scale}");
                let expected: f64 = literal.parse().unwrap();
                assert_eq!(to_f64(literal.as_bytes()).to_bits(), expected.to_bits(), "{literal}");
            }
        }
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
