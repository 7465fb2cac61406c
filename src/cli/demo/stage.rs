//! Where the demo plays: three running services, and the reader's terminal.

use super::instance::Instance;
use crate::{
    cli::{exit::Failure, job, output::Output},
    ops::{self, Client, ClientError, PullReport, RemoteError},
    types::SharedClock,
};
use anstyle::Style;
use serde_json::{Value, json};
use std::net::SocketAddr;

const BOLD: Style = Style::new().bold();

/// An instance whose service runs.
pub(super) struct Actor<'a> {
    pub(super) instance: &'a Instance,
    pub(super) url: String,
    pub(super) client: Client,
}

impl Actor<'_> {
    /// Takes what differs from `other`, and waits until the own service has seen it.
    pub(super) async fn pull(&self, other: &Self) -> Result<PullReport, Failure> {
        self.instance.pull(&self.client, &other.client).await
    }

    /// Sends an envelope to this instance; its answer.
    pub(super) async fn register(&self, envelope: String) -> Result<String, Failure> {
        Ok(ops::publish(&self.client, envelope, &self.instance.settings.limits()).await?)
    }

    /// Sends an envelope that this instance must refuse; how it does.
    pub(super) async fn refusal(&self, envelope: String) -> Result<(u16, String, String), Failure> {
        match ops::publish(&self.client, envelope, &self.instance.settings.limits()).await {
            Err(RemoteError::Client(ClientError::Refused { status, code, detail, .. })) => Ok((status, code, detail)),
            Err(error) => Err(error.into()),
            Ok(_) => Err(Failure::differs(format!("{} took what it must refuse", self.instance.name))),
        }
    }
}

/// The three of them.
pub(super) struct Stage<'a> {
    pub(super) laptop: Actor<'a>,
    pub(super) cloud: Actor<'a>,
    pub(super) pi: Actor<'a>,
    pub(super) clock: SharedClock,
    pub(super) output: Output,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        [laptop, cloud, pi]: &'a [Instance; 3],
        addresses: &[SocketAddr],
        clock: SharedClock,
        output: Output,
    ) -> Result<Self, Failure> {
        let mut addresses = addresses.iter();
        let mut actor = |instance: &'a Instance| {
            let address = addresses.next().ok_or_else(|| Failure::local("an instance has no address"))?;
            let url = format!("http://{address}");
            let client = job::client(&instance.settings, &url)?;
            Ok::<_, Failure>(Actor { instance, url, client })
        };
        Ok(Self { laptop: actor(laptop)?, cloud: actor(cloud)?, pi: actor(pi)?, clock, output })
    }

    /// What can be done while the services go on.
    pub(super) fn stay(&self) -> Result<(), Failure> {
        let url = &self.laptop.url;
        self.say(
            || json!({"step": "stay", "url": url}),
            || {
                format!(
                    "\nThe three services go on. Try:\n  curl {url}/discover\n  curl '{url}/nodes?limit=3'\n\
                     or open {url}/docs/ in a browser. Ctrl-C stops them and removes their directories."
                )
            },
        )
    }

    pub(super) fn all(&self) -> [&Actor<'a>; 3] {
        [&self.laptop, &self.cloud, &self.pi]
    }

    /// A heading for people; programs see what follows it.
    pub(super) fn heading(&self, text: &str) -> Result<(), Failure> {
        Ok(self.output.answer_text(|| format!("\n{BOLD}{text}{BOLD:#}"))?)
    }

    /// What happened, for people and for programs.
    pub(super) fn say(&self, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        Ok(self.output.answer(value, text)?)
    }
}
