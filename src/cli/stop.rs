//! Ctrl-C and the like during a command that writes: what is being written is brought to its end or removed, then the process ends.

use super::{
    exit::{Exit, Failure},
    output::Output,
};
use crate::ops::Interrupt;
use std::{io, process, thread};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

/// Takes SIGINT and SIGTERM from now on. Not SIGHUP: whoever starts us with nohup has it ignored.
///
/// # Errors
/// The machine gives no thread or lets no handler be set.
pub(super) fn on_signal(output: &Output) -> Result<Interrupt, Failure> {
    let (interrupt, output) = (Interrupt::default(), *output);
    let writers = interrupt.clone();
    let (runtime, signals) = take().map_err(Failure::local)?;
    let end = move || {
        let exit = runtime.block_on(signals.first());
        // Held to the end: nobody starts writing again.
        let _closed = interrupt.close();
        let failure = Failure::new(exit, "stopped before its end; what it wrote until then is whole and stays");
        process::exit(failure.report(&output).code().into());
    };
    let _ends_with_the_process =
        thread::Builder::new().name("signals".to_owned()).spawn(end).map_err(Failure::local)?;
    Ok(writers)
}

struct Signals {
    interrupted: Signal,
    terminated: Signal,
}

impl Signals {
    async fn first(mut self) -> Exit {
        tokio::select! {
            _ = self.interrupted.recv() => Exit::Interrupted,
            _ = self.terminated.recv() => Exit::Terminated,
        }
    }
}

fn take() -> io::Result<(Runtime, Signals)> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let signals = {
        let _entered = runtime.enter();
        Signals { interrupted: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? }
    };
    Ok((runtime, signals))
}
