//! Keeps long work off the server's workers.

use std::panic;

/// Checking or comparing more bytes than this takes longer than a millisecond, in which a worker serves none of its other clients.
const LARGE_BYTES: usize = 128 << 10;

/// Does `work` on `bytes` bytes: a little at once, much on a thread that may take its time.
///
/// # Panics
/// When `work` does.
pub async fn offload<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= LARGE_BYTES {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            // The caller's to answer for, as it would be without the thread.
            Ok(cause) => panic::resume_unwind(cause),
            // The runtime stops before the work began, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::{panic::AssertUnwindSafe, thread};

    #[tokio::test]
    async fn much_work_is_done_on_another_thread() {
        let here = thread::current().id();
        assert_eq!(offload(LARGE_BYTES, || thread::current().id()).await, here);
        assert_ne!(offload(LARGE_BYTES + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn a_panic_there_is_a_panic_here() {
        let failed = AssertUnwindSafe(offload(LARGE_BYTES + 1, || panic!("on purpose"))).catch_unwind().await;
        assert_eq!(failed.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    }
}
