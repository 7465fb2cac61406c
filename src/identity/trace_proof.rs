//! Proof that a trace is of the instance that sends it: one header, `ark-trace`, over the trace's id and who is meant. It is a message
//! as [`super::message`] signs it, with a method and a route that no request has; so neither passes for the other. Not over the rest of
//! `traceparent`: proxies on the way write their own spans into it.

use super::{
    KeyError, KeyPair,
    message::{self, Message, MessageError, Sender},
};
use crate::types::Timestamp;

const METHOD: &str = "TRACE";
const ROUTE: &str = "traceparent";

/// Who proved that a trace is his, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceOwner {
    /// Whose key signed.
    pub sender: Sender,
    /// The id of the instance that speaks.
    pub node_id: String,
    /// The id of the instance that is meant.
    pub audience: String,
}

fn of<'a>(trace_id: &'a [u8; 16], node_id: &'a str, audience: &'a str) -> Message<'a> {
    Message { method: METHOD, route: ROUTE, query: "?", body: trace_id, node_id, audience }
}

/// The header's text.
///
/// # Errors
/// The machine gives no random bytes.
pub fn prove(
    trace_id: &[u8; 16],
    (node_id, audience): (&str, &str),
    key: &KeyPair,
    now: Timestamp,
) -> Result<String, KeyError> {
    let headers = message::sign(&of(trace_id, node_id, audience), key, now)?;
    let parts = ["ark-node-id", "ark-audience", "signature-input", "signature"]
        .map(|wanted| headers.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value.as_str()));
    Ok(parts.join(" "))
}

/// Checks the header's text.
///
/// # Errors
/// [`MessageError`].
pub fn check(header: &str, trace_id: &[u8; 16], now: Timestamp) -> Result<TraceOwner, MessageError> {
    let malformed = MessageError::Malformed("Ark-Trace");
    let mut parts = header.splitn(3, ' ');
    let mut id = || parts.next().and_then(message::read_id).ok_or(malformed);
    let (node_id, audience) = (id()?, id()?);
    // What is signed has spaces in it, the signature has none.
    let (input, signature) = parts.next().and_then(|rest| rest.rsplit_once(' ')).ok_or(malformed)?;
    let sender = message::verify(&of(trace_id, &node_id, &audience), Some(input), Some(signature), now)?;
    Ok(TraceOwner { sender, node_id, audience })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_696_494);
    const TRACE: [u8; 16] = [7; 16];

    #[test]
    fn a_proof_is_of_one_trace_for_one_instance_and_for_a_while() {
        let key = KeyPair::generate().unwrap();
        let header = prove(&TRACE, ("ark 1/ü", "ark-2"), &key, NOW).unwrap();
        let owner = check(&header, &TRACE, NOW).unwrap();
        assert_eq!((owner.sender.public_key(), owner.node_id.as_str()), (key.public_key(), "ark 1/ü"));
        assert_eq!(owner.audience, "ark-2");
        assert_eq!(check(&header, &[8; 16], NOW), Err(MessageError::Wrong));
        assert_eq!(check(&header.replace("ark-2", "ark-3"), &TRACE, NOW), Err(MessageError::Wrong));
        let late = NOW.plus(message::WINDOW + Duration::from_secs(1));
        assert_eq!(check(&header, &TRACE, late), Err(MessageError::OutOfTime));
        for bad in ["", " ", "a b", "a b c", "% b c d", &header.replace(' ', "  "), &format!("{header} "), &header[9..]]
        {
            assert!(check(bad, &TRACE, NOW).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_signed_request_is_no_proof() {
        let key = KeyPair::generate().unwrap();
        let request = Message {
            method: "POST",
            route: "/lattice/changes",
            query: "?",
            body: &TRACE,
            node_id: "ark-1",
            audience: "ark-2",
        };
        let headers = message::sign(&request, &key, NOW).unwrap();
        let value = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
        let header = format!("ark-1 ark-2 {} {}", value("signature-input"), value("signature"));
        assert_eq!(check(&header, &TRACE, NOW), Err(MessageError::Wrong));
    }
}
