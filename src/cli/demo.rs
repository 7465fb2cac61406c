//! `demo`: three instances on free ports, and what they do with each other, step by step.

mod instance;
mod sample;
mod stage;
mod story;

use super::{exit::Failure, output::Output};
use crate::{
    settings::{InstanceType, Settings},
    startup,
    types::{SharedClock, SystemClock},
};
use bytes::Bytes;
use instance::Instance;
use stage::Stage;
use std::net::SocketAddr;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Everything is in a temporary directory and on free ports of 127.0.0.1; nothing of yours is read or changed, and nothing is left.
With --stay the three services go on, for a browser or for curl, until Ctrl-C.")]
pub(super) struct Args {
    /// Keep the three services running afterwards, until Ctrl-C.
    #[arg(long)]
    stay: bool,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("ark-lattice-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::local(error).about("the demo's temporary directory"))?;
    let clock = SystemClock::shared();
    let kinds = [("laptop", InstanceType::Local), ("cloud", InstanceType::Cloud), ("pi", InstanceType::Pi)];
    let made = kinds.map(|(name, kind)| Instance::new(name, kind, folder.path(), SharedClock::clone(&clock)));
    let [laptop, cloud, pi] = made;
    let cast = [laptop?, cloud?, pi?];
    spread(&cast)?;
    let settings: Vec<Settings> = cast.iter().map(|instance| instance.settings.clone()).collect();
    let work = async |addresses: Vec<SocketAddr>| {
        let stage = Stage::new(&cast, &addresses, clock, *output)?;
        for actor in stage.all() {
            actor.instance.ready(&actor.client).await?;
        }
        story::tell(&stage, &folder.path().display().to_string()).await?;
        if args.stay {
            stage.stay()?;
            std::future::pending::<()>().await;
        }
        Ok(())
    };
    let outcome = startup::run_while(&settings, work)?;
    folder.close().map_err(|error| Failure::local(error).about("the demo's temporary directory"))?;
    match outcome {
        Some(outcome) => outcome,
        None if args.stay => Ok(()),
        None => Err(Failure::local("stopped before its end; its directories are removed")),
    }
}

/// Gives every node to two of the three.
fn spread(cast: &[Instance; 3]) -> Result<(), Failure> {
    for (number, instance) in cast.iter().enumerate() {
        let nodes = sample::NODES.iter().enumerate().filter(|(place, _)| place % cast.len() != number);
        for (_, text) in nodes {
            instance.edit(Bytes::from_static(text))?;
        }
    }
    Ok(())
}
