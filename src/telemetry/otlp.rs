//! Spans as OTLP has them (opentelemetry-proto 1, `ExportTraceServiceRequest`), in protobuf. The little of it that we say is written here:
//! field numbers are those of `trace.proto`, `common.proto` and `resource.proto`.

use super::trace::{Ended, Kind, Value};

/// Who exports.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) service: String,
    pub(super) instance: String,
}

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` and `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`, and W3C's bit for a sampled trace.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
const SAMPLED: u32 = 1;
const STATUS_ERROR: u64 = 2;

/// A protobuf message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                return self.0.push(low & 0x7f);
            }
            self.0.push(low | 0x80);
        }
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn number(&mut self, field: u32, number: u64) {
        self.tag(field, 0);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u32, number: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, number: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn attribute(&mut self, field: u32, key: &str, value: &Value) {
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                // Two's complement, as protobuf writes an int64.
                Value::Number(number) => any.number(3, u64::from_le_bytes(number.to_le_bytes())),
            });
        });
    }

    fn span(&mut self, field: u32, span: &Ended) {
        self.message(field, |out| {
            out.bytes(1, &span.trace);
            out.bytes(2, &span.span);
            if let Some(parent) = &span.parent {
                out.bytes(4, parent);
            }
            out.bytes(5, span.name.as_bytes());
            out.number(
                6,
                match span.kind {
                    Kind::Internal => 1,
                    Kind::Server => 2,
                    Kind::Client => 3,
                },
            );
            out.fixed64(7, span.begun_nanos);
            out.fixed64(8, span.ended_nanos);
            span.attributes.iter().for_each(|(key, value)| out.attribute(9, key, value));
            if let Some(link) = &span.link {
                let (trace, other) = link.ids();
                out.message(13, |out| {
                    out.bytes(1, trace);
                    out.bytes(2, other);
                    out.fixed32(6, HAS_IS_REMOTE | IS_REMOTE | SAMPLED);
                });
            }
            if let Some(failure) = &span.failure {
                out.message(15, |status| {
                    status.bytes(2, failure.as_bytes());
                    status.number(3, STATUS_ERROR);
                });
            }
            out.fixed32(16, SAMPLED | HAS_IS_REMOTE | if span.from_remote { IS_REMOTE } else { 0 });
        });
    }
}

/// One request that exports these spans.
pub(super) fn request(resource: &Resource, spans: &[Ended]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |out| {
        out.message(1, |out| {
            out.attribute(1, "service.name", &resource.service.as_str().into());
            out.attribute(1, "service.version", &env!("CARGO_PKG_VERSION").into());
            out.attribute(1, "service.instance.id", &resource.instance.as_str().into());
        });
        out.message(2, |out| {
            out.message(1, |scope| {
                scope.bytes(1, b"ark-lattice");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            spans.iter().for_each(|span| out.span(2, span));
        });
    });
    request.0
}

/// How many spans the collector did not take, of an `ExportTraceServiceResponse`; 0 where it says nothing that can be read.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    field(answer, 1).and_then(Field::bytes).and_then(|partial| field(partial, 1)).and_then(Field::number).unwrap_or(0)
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(self) -> Option<u64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The first field of this number.
fn field(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    loop {
        let tag = read_varint(&mut message)?;
        let found = match tag & 7 {
            0 => Field::Number(read_varint(&mut message)?),
            wire => {
                let length = match wire {
                    1 => 8,
                    2 => usize::try_from(read_varint(&mut message)?).ok()?,
                    5 => 4,
                    _ => return None,
                };
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Field::Bytes(bytes)
            }
        };
        if tag >> 3 == wanted {
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_did_not_take_is_read_and_rubbish_is_nothing() {
        // partial_success { rejected_spans: 300, error_message: "no" }
        assert_eq!(rejected(&[0x0a, 7, 0x08, 0xac, 0x02, 0x12, 2, b'n', b'o']), 300);
        // The same, behind a field that nobody knows.
        assert_eq!(rejected(&[0x25, 1, 2, 3, 4, 0x0a, 3, 0x08, 0xac, 0x02]), 300);
        for none in
            [&[][..], &[0x0a, 0], b"{}", b"<html>", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert_eq!(rejected(none), 0, "{none:?}");
        }
    }

    #[test]
    fn numbers_are_varints() {
        let mut message = Message::default();
        message.number(1, 300);
        assert_eq!(message.0, [0x08, 0xac, 0x02]);
        let mut message = Message::default();
        message.varint(u64::MAX);
        assert_eq!(message.0.len(), 10);
        assert_eq!(read_varint(&mut message.0.as_slice()), Some(u64::MAX));
    }
}
