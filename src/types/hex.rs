//! Bytes as hexadecimal digits.

/// Two lower-case digits a byte.
#[must_use]
pub fn encode_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.push(char::from(hex_of(byte >> 4)));
        text.push(char::from(hex_of(byte & 0xf)));
    }
    text
}

/// The digit of a value below 16.
#[must_use]
pub const fn hex_of(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + (value - 10) }
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
    }
}
