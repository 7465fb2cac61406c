//! The stop signal.

use tokio::signal::unix::{SignalKind, signal};

/// Takes SIGTERM and SIGINT from now on; the future waits for the first and names it.
///
/// # Errors
/// The machine lets no handler be set.
pub fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
