//! The line of an invite, as somebody pastes it.

use ark_lattice::{
    trust::invite::{InviteLine, MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_LINE_BYTES},
    types::ContentHash,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

fn check(text: &str) {
    let Ok(line) = InviteLine::parse(text) else { return };
    assert!((1..=MAX_ADDRESSES).contains(&line.addresses.len()));
    assert!(line.addresses.iter().all(|address| address.len() <= MAX_ADDRESS_BYTES));
    // Written again it may be longer than what was read, whose JSON may write its texts shorter.
    if let Ok(written) = line.text() {
        assert!(written.len() <= MAX_LINE_BYTES);
        assert_eq!(InviteLine::parse(&written).as_ref(), Ok(&line), "what was read is written and read again");
    }
}

/// The first byte says what the rest is: `j` the JSON of a line, whose checksum is right then; otherwise text as it comes.
pub fn run(data: &[u8]) {
    if let Some(json) = data.strip_prefix(b"j") {
        let digest = ContentHash::of(json);
        let sum = digest.as_bytes().iter().copied().take(4);
        let bytes: Vec<u8> = json.iter().copied().chain(sum).collect();
        check(&format!("ark-invite:v1:{}", URL_SAFE_NO_PAD.encode(bytes)));
    }
    check(&String::from_utf8_lossy(data));
}
