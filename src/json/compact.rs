//! JSON text on one line.

/// Appends `text` without the white space between its tokens. `text` must have passed the gate.
pub fn write_compact(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::write_compact;

    #[test]
    fn only_the_space_between_tokens_goes() {
        let mut out = Vec::new();
        write_compact(b"{ \"a b\" : [ 1 ,\n \"x \\\" y\\\\\" , true ] }\n", &mut out);
        assert_eq!(out, b"{\"a b\":[1,\"x \\\" y\\\\\",true]}");
    }
}
