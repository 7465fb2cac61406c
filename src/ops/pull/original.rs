//! A pull from an original: it lists its nodes whole, without versions, deletions or a set hash. What comes is dated as in rounds with it.

use super::{Apply, BATCH_NODES, PullError, PullReport, Standing, blocking};
use crate::{
    federation::{
        client::{Client, ClientError},
        originals::{self, PushError},
    },
    lattice::{Ancestry, NodeDocument},
    ops::versions::Offered,
    types::{ContentHash, Limits, NodeId, Timestamp},
};
use std::collections::HashMap;

/// Is the other side, which answered a pull with this, an original?
pub(super) async fn is_original(client: &Client, error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 404 | 405, .. } | ClientError::Protocol(..))
        && client.probe("lattice/head").await.is_ok_and(|head| matches!(head.status, 404 | 405))
        && originals::is_original(client).await
}

/// Takes the nodes of an original. `most_bytes`: of a batch.
///
/// # Errors
/// [`PullError`].
pub(super) async fn pull(
    mut apply: Apply,
    client: &Client,
    limits: Limits,
    most_bytes: usize,
    mut progress: impl FnMut(usize, usize),
) -> Result<PullReport, PullError> {
    let body = originals::fetch(client).await?;
    let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let unreadable = |error: PushError| client.wrong(&format!("its nodes: {error}"));
    let nodes = originals::nodes(body, limits).await.map_err(unreadable)?;
    let (all, mut seen) = (nodes.len(), HashMap::new());
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    for (place, node) in nodes.into_iter().enumerate() {
        match node {
            Ok(node) => {
                seen.insert(node.id().clone(), node.content_hash());
                batch_bytes += node.document().source().len();
                batch.push(offered(&apply, node));
            }
            Err(reason) => apply.refuse(format!("nodes[{place}]"), None, reason),
        }
        if batch.len() >= BATCH_NODES || batch_bytes >= most_bytes {
            apply.take(std::mem::take(&mut batch)).await?;
            batch_bytes = 0;
            progress(place + 1, all);
        }
    }
    if !batch.is_empty() {
        apply.take(batch).await?;
    }
    progress(all, all);
    let standing = standing(&apply, seen).await?;
    Ok(PullReport { is_original: true, ..apply.report(bytes, None, standing) })
}

/// Without a date it counts as made in 1970 where nothing is known of it, and as older than everything else where something is.
fn offered(apply: &Apply, node: NodeDocument) -> Offered {
    let undated = || apply.directory.node(node.id()).is_none().then_some(Timestamp::EPOCH);
    let at = originals::stated_time(&node).or_else(undated);
    Offered { at, node, ancestry: Ancestry::default() }
}

/// How the directory stands to what came: an original states no hash of its set.
async fn standing(apply: &Apply, seen: HashMap<NodeId, ContentHash>) -> Result<Standing, PullError> {
    if apply.options.dry {
        return Ok(Standing::DryRun);
    }
    let directory = apply.directory.clone();
    let listing = blocking(move || directory.list()).await??;
    let only_here = listing.nodes.keys().filter(|id| !seen.contains_key(*id)).count();
    let not_taken = apply.kept.len().saturating_add(apply.kept_deleted.len()).saturating_add(apply.refused);
    if only_here + not_taken > 0 {
        return Ok(Standing::Differs { only_here, not_taken });
    }
    let held = |id: &NodeId| listing.nodes.get(id).map(|node| node.entry.content_hash);
    if seen.iter().all(|(id, hash)| held(id) == Some(*hash)) {
        return Ok(Standing::InStep);
    }
    Ok(Standing::of_broken(&listing))
}
