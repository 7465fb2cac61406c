//! Bytes as hexadecimal digits.

/// Two lower-case digits a byte.
#[must_use]
pub fn encode_hex(bytes: &[u8]) -> String {
    let mut digits = vec![0; bytes.len().saturating_mul(2)];
    for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = hex_pair(*byte);
    }
    // Digits are ASCII, so this loses nothing.
    String::from_utf8(digits).unwrap_or_default()
}

/// Arithmetic, which the compiler does for many digits at a time; a table it would ask digit by digit.
fn digit(value: u8) -> u8 {
    value + b'0' + (b'a' - b'0' - 10) * u8::from(value > 9)
}

/// The two lower-case digits of a byte.
#[must_use]
pub fn hex_pair(byte: u8) -> [u8; 2] {
    [digit(byte >> 4), digit(byte & 15)]
}

/// Exactly `N` bytes, in digits of either case.
#[must_use]
pub fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    Some(bytes)
}

/// Are these digits as [`encode_hex`] writes them: lower-case, or none at all?
#[must_use]
pub fn is_lower_hex(digits: &[u8]) -> bool {
    digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_nothing_else_is_read() {
        let bytes = [0, 0x9a, 0xff];
        assert_eq!(encode_hex(&bytes), "009aff");
        assert_eq!(decode_hex("009aFF"), Some(bytes));
        for wrong in ["", "009af", "009a", "009aff00", "009a+f", "009a f", "ö09af"] {
            assert_eq!(decode_hex::<3>(wrong), None, "{wrong}");
        }
        assert!(is_lower_hex(b"0123456789abcdef"));
        for wrong in ["A", "g", "0 ", "0x", "ö"] {
            assert!(!is_lower_hex(wrong.as_bytes()), "{wrong}");
        }
    }
}
