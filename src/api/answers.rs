//! What answers under way hold in memory: a client that asks for much and reads nothing must not cost more than its share. Large answers
//! are handed on in small pieces, because the server copies what it is given into a buffer of the connection.

use super::{
    extract::{holder_of, overloaded},
    origin::caller,
    state::ApiState,
};
use crate::guard::{Holder, Pool, PoolBounds, PoolPart};
use actix_web::{
    Error,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap},
    middleware::Next,
    web,
};
use bytes::Bytes;
use futures_util::future::OptionFuture;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Answers of no more than this are not counted; connections bound them.
const FREE_BYTES: u64 = 64 << 10;
/// What a streamed answer holds at a time: its nodes, and the lines made of them.
const STREAM_BYTES: u64 = 256 << 10;
/// What the state of a compressor takes (zstd, brotli), about.
const COMPRESSOR_BYTES: u64 = 2 << 20;
/// The server copies so much at a time into the buffer of a connection, and asks for more once that has less than 32 KiB.
const PIECE_BYTES: usize = 64 << 10;

/// What all answers under way may hold. An eighth for one address, an eighth for known clients only.
#[must_use]
pub fn answer_pool(bytes: usize) -> Arc<Pool> {
    let all = u64::try_from(bytes).unwrap_or(u64::MAX);
    Pool::new(PoolBounds { all, of_one: all / 8, reserve: all / 8, oldest_passes: true })
}

/// Streams to which clients of one address listen. What they hold are connections, which are bounded in all elsewhere.
#[must_use]
pub fn listener_pool(of_one: u32) -> Arc<Pool> {
    let of_one = if of_one == 0 { u64::MAX } else { u64::from(of_one) };
    Pool::new(PoolBounds { all: u64::MAX, of_one, reserve: 0, oldest_passes: false })
}

fn compresses(headers: &HeaderMap) -> bool {
    let names = headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
    names.flat_map(|text| text.split(',')).any(|name| {
        let name = name.split(';').next().unwrap_or_default().trim();
        ["br", "zstd", "*"].iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

/// What the answer will hold; `None`: too little to be counted.
fn cost(response: &ServiceResponse<impl MessageBody>) -> Option<u64> {
    let content_type = response.headers().get(CONTENT_TYPE);
    let holds = match response.response().body().size() {
        BodySize::Sized(bytes) if bytes > FREE_BYTES => {
            bytes.saturating_add(u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX))
        }
        // Events are short, and listeners counted.
        BodySize::Stream if content_type.is_some_and(|it| it == "text/event-stream") => return None,
        BodySize::Stream => STREAM_BYTES,
        BodySize::Sized(_) | BodySize::None => return None,
    };
    let compressor = if compresses(response.request().headers()) { COMPRESSOR_BYTES } else { 0 };
    Some(holds.saturating_add(compressor))
}

/// Counts a large answer on its client's account until it is sent, or answers 503 `overloaded` in its place. Stands within the compressor.
///
/// # Errors
/// What the inner service answers with.
pub async fn bound_answers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let state = request.app_data::<web::Data<ApiState>>().cloned();
    let reads = state.as_ref().map(|state| state.reads.begin(request.method(), request.path()));
    let _until_it_is_counted = OptionFuture::from(reads).await;
    let response = next.call(request).await?;
    let Some((state, cost)) = state.zip(cost(&response)) else { return Ok(response.map_into_left_body()) };
    let holder = match holder_of(response.request(), &state) {
        Holder::Address(_) if caller(response.request()).payer().is_none() => Holder::Local,
        holder => holder,
    };
    match state.answers.take(holder, cost) {
        Ok(part) => Ok(response.map_body(|_, body| {
            EitherBody::right(BoxBody::new(Counted { inner: body.boxed(), rest: Bytes::new(), part }))
        })),
        Err(full) => {
            state.metrics.limited("answers");
            let (request, _) = response.into_parts();
            Ok(ServiceResponse::from_err(overloaded(full), request).map_into_right_body())
        }
    }
}

/// An answer in small pieces, counted until the last of them is handed on.
struct Counted {
    inner: BoxBody,
    /// Of the inner body's part that came last.
    rest: Bytes,
    part: PoolPart,
}

impl MessageBody for Counted {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_next(context)) {
                Some(Ok(bytes)) => this.rest = bytes,
                end => return Poll::Ready(end),
            }
            // A node may be larger than all that a stream holds as a rule.
            let bytes = u64::try_from(this.rest.len()).unwrap_or(u64::MAX);
            let held = this.part.amount();
            let more = if bytes > held { bytes.saturating_mul(2).saturating_sub(held) } else { 0 };
            if more > 0 && this.part.grow(more).is_err() {
                let text = "the answers under way take all the memory that they may";
                return Poll::Ready(Some(Err(Box::new(io::Error::other(text)))));
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Payer;
    use actix_web::{rt, web::Bytes as Part};
    use std::future::poll_fn;

    fn counted(pool: &Arc<Pool>, length: usize) -> Result<Counted, crate::guard::PoolFull> {
        let holder = Holder::Address(Payer::of([192, 0, 2, 1].into()));
        let part = pool.take(holder, u64::try_from(length).unwrap())?;
        Ok(Counted { inner: BoxBody::new(Part::from(vec![7; length])), rest: Bytes::new(), part })
    }

    #[test]
    fn an_answer_is_sent_in_pieces_and_counted_to_its_end() {
        rt::System::new().block_on(async {
            let pool = answer_pool(8 << 20);
            let mut large = counted(&pool, 900 << 10).unwrap();
            assert!(counted(&pool, 200 << 10).is_err(), "an eighth for one address");
            assert_eq!(large.size(), BodySize::Sized(900 << 10));
            let first = poll_fn(|context| Pin::new(&mut large).poll_next(context)).await.unwrap().unwrap();
            assert_eq!((first.len(), pool.held()), (PIECE_BYTES, 900 << 10));
            let mut rest = 0;
            while let Some(piece) = poll_fn(|context| Pin::new(&mut large).poll_next(context)).await {
                rest += piece.unwrap().len();
            }
            assert_eq!((rest, pool.held()), ((900 << 10) - PIECE_BYTES, 900 << 10));
            drop(large);
            assert_eq!(pool.held(), 0);
        });
    }

    #[test]
    fn compressors_are_told_from_what_the_client_accepts() {
        let asked = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, text.parse().unwrap());
            compresses(&headers)
        };
        assert!(asked("gzip, BR;q=0.5") && asked("zstd") && asked("*"));
        assert!(!asked("gzip") && !asked("identity") && !compresses(&HeaderMap::new()));
    }
}
