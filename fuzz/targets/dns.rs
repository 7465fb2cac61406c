//! What anybody on the network says by multicast DNS.

use crate::dns::{Data, Message};

/// What a message may hold, of whatever form it is.
const MOST: usize = 256;

pub fn run(data: &[u8]) {
    let Some(message) = Message::read(data) else { return };
    assert!(message.questions.len() + message.records.len() <= MOST);
    for record in &message.records {
        if let Data::Txt(strings) = &record.data {
            assert!(strings.iter().map(|string| string.len() + 1).sum::<usize>() <= 1300);
        }
    }
    // Compressed names may be longer in full than a message may be.
    let written = message.write();
    if written.len() <= 9000 {
        assert_eq!(Message::read(&written).as_ref(), Some(&message), "what was read is written and read again");
    }
}
