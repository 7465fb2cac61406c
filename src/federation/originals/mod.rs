//! Rounds with an original: an instance of the first ARK implementations, which signs nothing and knows no versions or deletions (DESIGN 4.6,
//! step 4). The Node.js one is read and written by `/federation/nodes` and `/federation/sync`; the Python one is read by `/sync`, and reads
//! others itself. What comes is judged by [`take`], as what originals send to this instance is. Only peers that the admin marked as unsigned
//! are exchanged with in this way.

mod give;
mod take;
mod wire;

pub use self::take::{MAX_LISTED, Origin, PushError, Pushed, Receiver, Seen, Skipped, nodes, stated_time, take};

use self::give::give;
use super::{
    client::{Client, ClientError},
    peers::Direction,
    round::Outcome,
    run::{RoundError, RoundReport},
};
use crate::types::PeerId;
use bytes::Bytes;
use std::{collections::HashSet, fmt::Write};

/// Which wire an original has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    NodeJs,
    Python,
}

/// What was given to an original in this process, by keyed hash: it keeps its own version of a node where its rule says so, and is not
/// sent the same again with every round.
#[derive(Debug, Default)]
pub struct Given {
    versions: HashSet<u64>,
    hasher: std::hash::RandomState,
}

/// An original, and what is exchanged with it.
pub struct Original<'a> {
    /// Its address, as the admin named it.
    pub url: &'a str,
    /// Asks it.
    pub client: &'a Client,
    /// Which ways nodes go.
    pub direction: Direction,
    /// Our id.
    pub node_id: &'a PeerId,
    /// Makes the envelope of our manifest, with these nodes, in the form that the Python original verifies; `None`: it has a fresh one.
    pub envelope: Option<&'a Sign<'a>>,
}

impl std::fmt::Debug for Original<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Original").field("url", &self.url).field("direction", &self.direction).finish_non_exhaustive()
    }
}

/// Signs a manifest with `"nodes":[…]`.
type Sign<'a> = dyn Fn(&str) -> Result<String, String> + Send + Sync + 'a;

/// One round: takes what the original has, and gives it what it lacks. What was exchanged before an error stays. Answers whether this
/// instance registered there.
///
/// # Errors
/// [`RoundError::Client`], [`RoundError::Lattice`].
pub async fn exchange(
    original: &Original<'_>,
    receiver: &Receiver<'_>,
    given: &mut Given,
    report: &mut RoundReport,
) -> Result<bool, RoundError> {
    report.requests = report.requests.saturating_add(1);
    let wire = if original.client.has_federation_info().await? { Wire::NodeJs } else { Wire::Python };
    report.requests = report.requests.saturating_add(1);
    let body = match wire {
        Wire::NodeJs => original.client.original_nodes().await?,
        Wire::Python if original.direction == Direction::Push => {
            let why = "it has the wire of the Python original, which takes no nodes: leave --direction push out, and it can fetch them here";
            return Err(original.client.wrong(why).into());
        }
        Wire::Python => original.client.original_delta(format!("{{{}}}", held(receiver)?)).await?,
    };
    report.bytes_in = report.bytes_in.saturating_add(u64::try_from(body.len()).unwrap_or(u64::MAX));
    let mut seen = Seen::new();
    if original.direction == Direction::Push {
        take::read(body, receiver.limits, &mut seen).await.map_err(|error| refused(original, error))?;
    } else {
        let origin = Origin::Address(original.url);
        let pushed = take(receiver, body, origin, Some(&mut seen)).await.map_err(|error| refused(original, error))?;
        report.received.add(&pushed.received);
        for skipped in pushed.skipped.iter().take(NAMED) {
            let (id, reason) = (skipped.id.as_deref().unwrap_or("-"), skipped.reason.as_str());
            tracing::warn!(peer = original.url, id, reason, "a node of an unsigned peer is not taken");
        }
    }
    report.outcome = Some(Outcome::Exchanged);
    if original.direction == Direction::Pull {
        return Ok(false);
    }
    match (wire, original.envelope) {
        (Wire::NodeJs, _) => give(original, receiver, (&seen, given), report).await.map(|()| false),
        (Wire::Python, None) => Ok(false),
        (Wire::Python, Some(sign)) => {
            report.requests = report.requests.saturating_add(1);
            let envelope = sign(&held(receiver)?).map_err(|error| original.client.wrong(&error))?;
            original.client.publish(envelope).await?;
            Ok(true)
        }
    }
}

/// Does it answer as an original does?
pub async fn is_original(client: &Client) -> bool {
    for (path, member) in [("federation/info", "instanceId"), ("discover", "peers")] {
        let answer = client.probe(path).await.ok().filter(|answer| answer.status == 200);
        let answer = answer.and_then(|answer| serde_json::from_slice::<serde_json::Value>(&answer.body).ok());
        if answer.is_some_and(|answer| answer.get(member).is_some()) {
            return true;
        }
    }
    false
}

/// All nodes of an original: the body that [`nodes`] reads.
///
/// # Errors
/// [`ClientError`].
pub async fn fetch(client: &Client) -> Result<Bytes, ClientError> {
    match client.has_federation_info().await? {
        true => client.original_nodes().await,
        // An original compares with hashes of its own: of nothing, all of them differ.
        false => client.original_delta("{\"nodes\":[]}".to_owned()).await,
    }
}

/// Nodes that are named in the log of one round.
const NAMED: usize = 3;

fn refused(original: &Original<'_>, error: PushError) -> RoundError {
    match error {
        PushError::Lattice(error) => RoundError::Lattice(error),
        error @ (PushError::Json(_) | PushError::Shape(_)) => {
            RoundError::Client(original.client.wrong(&format!("its nodes: {error}")))
        }
    }
}

/// `"nodes":[…]`: what is here.
fn held(receiver: &Receiver<'_>) -> Result<String, RoundError> {
    let mut text = "\"nodes\":[".to_owned();
    for entry in receiver.lattice.snapshot()?.iter_after(None) {
        let id = serde_json::Value::from(entry.id.as_str());
        let comma = if text.ends_with('[') { "" } else { "," };
        let _infallible = write!(text, "{comma}{{\"id\":{id},\"hash\":\"{}\"}}", entry.content_hash);
    }
    text.push(']');
    Ok(text)
}
