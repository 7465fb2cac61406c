//! How slowly another instance may answer: it may be slow, but nobody holds a round for hours with a byte now and then.

use super::{
    client::{ClientError, NoAnswer},
    lines::Parts,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What must come each second, on average: less than the slowest links that carry HTTP at all.
pub const LEAST_BYTES_A_SECOND: u64 = 1 << 10;

/// How much came while how long was waited. Only the time counts in which there was nothing to read: our own work is no silence of
/// the other side.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Notes a part that came after such a wait; answers whether all of it came slower than `least`, over `window` or longer.
    fn is_too_slow(&mut self, waited: Duration, part: &Bytes, (window, least): (Duration, u64)) -> bool {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        if self.waited < window {
            return false;
        }
        let came = std::mem::take(self);
        came.bytes < came.waited.as_secs().max(1).saturating_mul(least)
    }
}

/// The parts, as long as no `patience` passes without one, and they do not come slower than `least` bytes a second.
pub(super) fn paced(from: String, parts: Parts, patience: Duration, least: u64) -> Parts {
    let next = move |state: Option<(String, Parts, Pace)>| async move {
        let (from, mut parts, mut pace) = state?;
        let begun = Instant::now();
        let part = match timeout(patience, parts.next()).await {
            Err(_) => Err(silent(&from)),
            Ok(None) => return None,
            Ok(Some(Ok(part))) if pace.is_too_slow(begun.elapsed(), &part, (patience, least)) => Err(slow(&from)),
            Ok(Some(part)) => part,
        };
        let rest = part.is_ok().then_some((from, parts, pace));
        Some((part, rest))
    };
    stream::unfold(Some((from, parts, Pace::default())), next).boxed()
}

/// How long a request with such a body may take until its answer begins.
pub(super) fn until_answer(patience: Duration, body_bytes: usize) -> Duration {
    let body_bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
    patience.saturating_add(Duration::from_secs(body_bytes / LEAST_BYTES_A_SECOND))
}

/// Nothing came.
pub(super) fn silent(from: &str) -> ClientError {
    ClientError::Unreachable(from.to_owned(), NoAnswer::Timeout)
}

fn slow(from: &str) -> ClientError {
    ClientError::Unreachable(
        from.to_owned(),
        format!("it sends less than {LEAST_BYTES_A_SECOND} bytes a second").into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const WINDOW: (Duration, u64) = (Duration::from_secs(10), LEAST_BYTES_A_SECOND);

    #[test]
    fn a_byte_now_and_then_is_too_slow_and_a_pause_is_not() {
        let byte = Bytes::from_static(b"x");
        let mut pace = Pace::default();
        let too_slow = (0..11).filter(|_| pace.is_too_slow(Duration::from_secs(1), &byte, WINDOW)).count();
        assert_eq!(too_slow, 1, "once in each window");

        let plenty = Bytes::from(vec![0; 40 << 10]);
        let mut pace = Pace::default();
        for _ in 0..100 {
            assert!(!pace.is_too_slow(Duration::from_secs(9), &plenty, WINDOW));
        }
        assert!(!Pace::default().is_too_slow(Duration::ZERO, &byte, WINDOW), "the end of an answer may be short");
    }

    #[tokio::test]
    async fn silence_ends_an_answer() {
        let short = Duration::from_millis(20);
        let parts = stream::iter([Ok(Bytes::from_static(b"x"))]).chain(stream::pending()).boxed();
        let parts: Vec<_> = paced("peer".to_owned(), parts, short, 0).collect().await;
        let texts: Vec<String> =
            parts.iter().map(|part| part.as_ref().map_or_else(ToString::to_string, |_| "part".to_owned())).collect();
        assert_eq!(texts, ["part", "peer cannot be reached: no answer in time"]);
        assert!(paced(String::new(), stream::empty().boxed(), short, 0).next().now_or_never().unwrap().is_none());
        assert_eq!(until_answer(WINDOW.0, 20 << 10), Duration::from_secs(30));
    }
}
