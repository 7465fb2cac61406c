//! Which of two neighbouring doubles is nearer to a decimal of many digits.
//!
//! The standard library's parser decides this digit by digit, at some 8 µs a number. Whoever fills a manifest with numbers close to
//! the middle of two doubles could keep a core busy for seconds; whole integers decide it some twenty times as fast.

use std::cmp::Ordering;

/// An integer greater than zero: 64 bits each, the lowest first, the highest not zero.
struct Natural(Vec<u64>);

impl Natural {
    /// `start` is not zero.
    fn new(start: u64) -> Self {
        let mut limbs = Vec::with_capacity(48);
        limbs.push(start);
        Self(limbs)
    }

    /// The first of `digits` is not `0`.
    fn from_digits(digits: &[u8]) -> Self {
        let value =
            |digits: &[u8]| digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit.wrapping_sub(b'0')));
        let mut chunks = digits.chunks(19);
        let mut number = Self::new(chunks.next().map_or(1, value));
        for chunk in chunks {
            let scale = chunk.iter().fold(1, |scale, _| scale * 10);
            number.multiply_and_add(scale, value(chunk));
        }
        number
    }

    fn multiply_and_add(&mut self, factor: u64, summand: u64) {
        let mut carry = u128::from(summand);
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = low_half(product);
            carry = product >> 64;
        }
        if carry > 0 {
            self.0.push(low_half(carry));
        }
    }

    fn multiply_by_power_of_five(&mut self, mut exponent: u32) {
        // 5^27 is the greatest power of five below 2^64.
        while exponent > 0 {
            let step = exponent.min(27);
            self.multiply_and_add(5_u64.pow(step), 0);
            exponent -= step;
        }
    }

    fn multiply_by_power_of_two(&mut self, exponent: u32) {
        let limbs = usize::try_from(exponent / 64).unwrap_or_default();
        self.0.splice(0..0, std::iter::repeat_n(0, limbs));
        self.multiply_and_add(1 << (exponent % 64), 0);
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

fn low_half(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default()
}

/// Whether `digits`·10^`exponent`, which lies between `lower` (finite, not negative) and the double above it, is nearer to the one
/// above, or as near and `lower` is odd. The first of `digits` is not `0`. Above the greatest double the next is infinity, which
/// takes over where the next would have stood.
pub(super) fn rounds_up(digits: &[u8], exponent: i32, lower: f64) -> bool {
    let bits = lower.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let biased = i32::try_from(bits >> 52).unwrap_or_default();
    // lower = significand · 2^binary_exponent
    let (significand, binary_exponent) =
        if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };

    let mut decimal = Natural::from_digits(digits);
    let mut middle = Natural::new(2 * significand + 1);
    let scaled = if exponent < 0 { &mut middle } else { &mut decimal };
    scaled.multiply_by_power_of_five(exponent.unsigned_abs());
    let twos = exponent - (binary_exponent - 1);
    let shifted = if twos < 0 { &mut middle } else { &mut decimal };
    shifted.multiply_by_power_of_two(twos.unsigned_abs());

    match decimal.compare(&middle) {
        Ordering::Less => false,
        Ordering::Equal => significand % 2 == 1,
        Ordering::Greater => true,
    }
}
