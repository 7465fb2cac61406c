//! Answers that come as a zstd stream (RFC 8878), unpacked in bounded memory.

use super::{
    client::{ClientError, NoAnswer},
    lines::Parts,
};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// The largest window that a frame may ask for, as a power of two: 8 MiB, what RFC 8878 section 3.1.1.1.2 wants every decoder to
/// have. Without it a peer could take 128 MB.
const WINDOW_LOG_MAX: u32 = 23;
/// How much is unpacked at once.
const PART_BYTES: usize = 128 << 10;

struct Unpacking {
    from: String,
    parts: Parts,
    decoder: Decoder<'static>,
    /// Not unpacked yet.
    input: Bytes,
    /// The decoder may hold more than it gave.
    full: bool,
    /// A frame has begun and not ended.
    open: bool,
}

/// The content of a zstd stream.
pub(super) fn unpacked(from: String, parts: Parts) -> Result<Parts, ClientError> {
    let mut decoder = Decoder::new().map_err(|error| wrong(&from, &error))?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(|error| wrong(&from, &error))?;
    let state = Unpacking { from, parts, decoder, input: Bytes::new(), full: false, open: false };
    Ok(stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        let part = state.next().await.transpose()?;
        let rest = part.is_ok().then_some(state);
        Some((part, rest))
    })
    .boxed())
}

impl Unpacking {
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if self.input.is_empty() && !self.full {
                match self.parts.next().await.transpose()? {
                    Some(input) => self.input = input,
                    None if self.open => {
                        return Err(ClientError::Unreachable(self.from.clone(), NoAnswer::Cut));
                    }
                    None => return Ok(None),
                }
            }
            let part = self.step()?;
            if !part.is_empty() {
                return Ok(Some(part.into()));
            }
        }
    }

    fn step(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut out = Vec::with_capacity(PART_BYTES);
        let mut output = OutBuffer::around(&mut out);
        let mut input = InBuffer::around(&self.input);
        let left = self.decoder.run(&mut input, &mut output).map_err(|error| wrong(&self.from, &error))?;
        let (taken, given) = (input.pos(), output.pos());
        self.input.advance(taken);
        self.full = given == PART_BYTES;
        // Asked for more than there is, the decoder speaks of the next frame.
        if taken > 0 || given > 0 {
            self.open = left > 0;
        }
        Ok(out)
    }
}

fn wrong(from: &str, error: &std::io::Error) -> ClientError {
    ClientError::Protocol(from.to_owned(), format!("its answer is no zstd stream that is taken here: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zstd::stream::{encode_all, raw::CParameter, write::Encoder};

    async fn unpack(parts: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        let parts = stream::iter(parts.into_iter().map(|part| Ok(Bytes::from(part)))).boxed();
        let mut all = Vec::new();
        let mut unpacked = unpacked("peer".to_owned(), parts).unwrap();
        while let Some(part) = unpacked.next().await {
            let part = part.map_err(|error| error.to_string())?;
            assert!(part.len() <= PART_BYTES, "in parts");
            all.extend_from_slice(&part);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn what_was_packed_comes_out_however_it_is_cut() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let packed = encode_all(&text[..], 3).unwrap();
        for size in [1_000, 65_536, packed.len()] {
            let parts = packed.chunks(size).map(<[u8]>::to_vec).collect();
            assert!(unpack(parts).await.unwrap() == text, "{size}");
        }
        let zeros = vec![0; 10 << 20];
        assert!(unpack(vec![encode_all(&zeros[..], 19).unwrap()]).await.unwrap() == zeros);
        assert!(unpack(vec![]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_cut_off_or_asks_for_too_much_is_refused() {
        let text = vec![7; 1_000_000];
        let packed = encode_all(&text[..], 3).unwrap();
        assert!(
            unpack(vec![packed[..packed.len() - 1].to_vec()])
                .await
                .unwrap_err()
                .contains("ended before the answer did")
        );
        assert!(unpack(vec![b"{\"index_id\":1}\n".to_vec()]).await.unwrap_err().contains("zstd"));
        let mut large = Encoder::new(Vec::new(), 3).unwrap();
        large.set_parameter(CParameter::WindowLog(WINDOW_LOG_MAX + 1)).unwrap();
        std::io::Write::write_all(&mut large, &text).unwrap();
        assert!(unpack(vec![large.finish().unwrap()]).await.is_err());
    }
}
