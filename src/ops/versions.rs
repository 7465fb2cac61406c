//! Versions that were made elsewhere, offered to this instance by a command: each is judged by the one order of versions, deletions
//! included, in whichever of three ways the instance can be written to. Where they come from is the commands' part.

use super::{Ask, Client, OperatorClient};
use crate::{
    federation::client::ClientError,
    lattice::{
        Ancestry, Applied, Arrival, Arrived, Lattice, LatticeError, NodeDocument, OVERSIZE_BYTES, Version, Written,
        offline::{OfflineDirectory, OfflineError},
        version::{self, MAX_AHEAD, Verdict, judge},
    },
    types::{Limits, NodeId, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, sync::Arc};

/// Where a running service takes versions.
const ROUTE: &str = "nodes/versions";

/// As long as an id may be.
const MOST_SOURCE_CHARS: usize = 256;

/// A version that is offered.
#[derive(Debug, Clone)]
pub struct Offered {
    /// The node as it was then.
    pub node: NodeDocument,
    /// When the version was made; `None`: nothing says so.
    pub at: Option<Timestamp>,
    /// What it came from, as its sender states it.
    pub ancestry: Ancestry,
}

/// What became of an [`Offered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reason")]
pub enum Fate {
    /// The node is new here.
    Added,
    /// It replaced an earlier version.
    Replaced,
    /// The node had this content already.
    Unchanged,
    /// The version that is here is later.
    Kept,
    /// The node was deleted here later than the version was made: it stays deleted.
    KeptDeleted,
    /// It was not taken, for this reason.
    Refused(String),
}

/// What [`Target::take`] did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TakenVersions {
    /// One a version, in their order.
    pub fates: Vec<Fate>,
    /// Where replaced versions are kept as files, relative to the data directory.
    #[serde(skip)]
    pub kept_as: Vec<String>,
    /// The numbers under which the history keeps replaced versions.
    pub overruled: Vec<u64>,
}

/// Why nothing of a batch was taken, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] OfflineError),
    /// The lattice does not take anything now.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
    /// The running service did not take it.
    #[error("the running service: {0}")]
    Service(#[from] ClientError),
    /// The running service gave another answer than this version does.
    #[error("the running service does not answer as one of this version does: {0}; restart it with this version")]
    Answer(String),
    /// A worker thread failed.
    #[error("writing stopped: {0}")]
    Worker(String),
}

/// What versions are written to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A directory without a journal: its files show all that is known.
    Files(OfflineDirectory),
    /// Directory and journal, which no service has open.
    Lattice(Arc<dyn Lattice>),
    /// The service that has them open.
    Service(Box<OperatorClient>),
}

/// How versions are taken.
#[derive(Debug, Clone, Copy)]
pub struct TakeOptions<'a> {
    /// The instance, or the file, that they come from: for people, beside what they replace.
    pub from: &'a str,
    /// The time.
    pub now: Timestamp,
    /// Bounds on nodes.
    pub limits: Limits,
    /// Nothing is written.
    pub dry: bool,
}

impl Target {
    /// Takes what counts, durably; one node that cannot be written is refused by itself.
    ///
    /// # Errors
    /// [`TakeError`]; versions before may have been written.
    pub async fn take(&self, offered: Vec<Offered>, options: TakeOptions<'_>) -> Result<TakenVersions, TakeError> {
        match self {
            Self::Files(directory) => {
                let (directory, now, dry) = (directory.clone(), options.now, options.dry);
                let work = move || take_into_files(&directory, offered, now, dry);
                let taken = tokio::task::spawn_blocking(work).await;
                Ok(taken.map_err(|error| TakeError::Worker(error.to_string()))??)
            }
            Self::Lattice(lattice) => Ok(take_versions(&**lattice, offered, options).await?),
            Self::Service(service) => {
                let (count, body) = (offered.len(), request_text(&offered, options));
                let answer = service.ask(Ask::Post, ROUTE, Some(body)).await?;
                let taken: TakenVersions =
                    serde_json::from_slice(&answer).map_err(|error| TakeError::Answer(error.to_string()))?;
                if taken.fates.len() == count {
                    return Ok(taken);
                }
                Err(TakeError::Answer(format!("{} outcomes for {count} versions", taken.fates.len())))
            }
        }
    }

    /// By which name `client`'s instance is noted beside what its versions replace: its id, where it states one.
    pub async fn source(&self, client: &Client, url: &str) -> String {
        if matches!(self, Self::Files(_)) {
            return url.to_owned();
        }
        let health = client.probe("health").await.ok().filter(|probe| probe.status == 200);
        let health = health.and_then(|probe| serde_json::from_slice::<serde_json::Value>(&probe.body).ok());
        let id = health.and_then(|health| health.get("node_id")?.as_str().map(str::to_owned));
        id.unwrap_or_else(|| url.to_owned())
    }
}

/// A file's name, or whatever else versions come from, in the form of an id.
fn source_id(from: &str) -> String {
    let id: String = from.chars().filter(|c| !c.is_control()).take(MOST_SOURCE_CHARS).collect();
    if id.is_empty() { "-".to_owned() } else { id }
}

/// The request of [`ROUTE`].
fn request_text(offered: &[Offered], options: TakeOptions<'_>) -> String {
    let from = quoted(&source_id(options.from));
    let mut text = format!("{{\"from\":{from},\"dryRun\":{},\"versions\":[", options.dry);
    for (place, Offered { node, at, ancestry }) in offered.iter().enumerate() {
        let at = at.map_or_else(|| "null".to_owned(), |at| at.to_seconds_text().to_string());
        let after: Vec<String> = ancestry.texts().map(|text| quoted(&text)).collect();
        let comma = if place == 0 { "" } else { "," };
        // The gate let it pass, so it is UTF-8.
        let node = String::from_utf8_lossy(node.document().source());
        text.push_str(&format!("{comma}{{\"at\":{at},\"after\":[{}],\"node\":{node}}}", after.join(",")));
    }
    text.push_str("]}");
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Takes versions into a lattice. Of one node's second version of a batch the first one counts as held.
///
/// # Errors
/// [`LatticeError`]: nothing can be written now; versions before may have been.
pub async fn take_versions(
    lattice: &dyn Lattice,
    offered: Vec<Offered>,
    options: TakeOptions<'_>,
) -> Result<TakenVersions, LatticeError> {
    let mut taken = TakenVersions::default();
    for run in runs(offered) {
        let (mut fates, mut places, mut arrivals) = (Vec::with_capacity(run.len()), Vec::new(), Vec::new());
        for Offered { node, at, ancestry } in run {
            let held = lattice.current_version(node.id())?;
            let stays_deleted = |at| Ok::<_, LatticeError>(held.is_none() && lattice.stays_deleted(node.id(), at)?);
            let at = match at {
                Some(at) => at,
                None => version::time_of_undated(held.is_some() || stays_deleted(Timestamp::EPOCH)?, options.now),
            };
            let (offered, bytes) = (Version { at, content: Some(node.content_hash()) }, node.document().source().len());
            if bytes > options.limits.node_bytes.saturating_add(OVERSIZE_BYTES) {
                let limit = options.limits.node_bytes;
                fates.push(Fate::Refused(format!("it has {bytes} bytes; the limit is {limit} (limits.node_bytes)")));
            } else if options.dry && stays_deleted(at)? {
                fates.push(Fate::KeptDeleted);
            } else if options.dry {
                fates.push(fate(held, offered, judge(held.as_ref(), &offered, options.now)));
            } else {
                places.push((fates.len(), held, offered));
                // Where the tombstone is forgotten, the lattice remembers the deletion anew, and peers are told of it.
                fates.push(if stays_deleted(at)? { Fate::KeptDeleted } else { Fate::Kept });
                let change = Arrived::Put { node, at };
                // What the sender had been given is not known: what was made here and is replaced is a conflict.
                arrivals.push(Arrival { change, ancestry, from: source_id(options.from).into(), given: 0 });
            }
        }
        for ((place, held, offered), applied) in places.into_iter().zip(apply(lattice, arrivals).await?) {
            let outcome = match applied {
                Ok(applied) => {
                    taken.overruled.extend(match applied {
                        Applied::Taken(number) => number,
                        _ => None,
                    });
                    match (fates.get(place), verdict(applied)) {
                        (Some(Fate::KeptDeleted), Verdict::Keep) => Fate::KeptDeleted,
                        (_, verdict) => fate(held, offered, verdict),
                    }
                }
                Err(reason) => Fate::Refused(reason),
            };
            if let Some(fate) = fates.get_mut(place) {
                *fate = outcome;
            }
        }
        taken.fates.append(&mut fates);
    }
    Ok(taken)
}

/// Parts in which no node occurs twice.
fn runs(offered: Vec<Offered>) -> Vec<Vec<Offered>> {
    let mut seen: HashSet<NodeId> = HashSet::new();
    let mut runs = vec![Vec::new()];
    for offered in offered {
        if !seen.insert(offered.node.id().clone()) {
            seen = HashSet::from([offered.node.id().clone()]);
            runs.push(Vec::new());
        }
        if let Some(run) = runs.last_mut() {
            run.push(offered);
        }
    }
    runs
}

/// Applies all of them; where that fails for a reason that may be one node's own, each by itself, so that the others are taken.
async fn apply(lattice: &dyn Lattice, arrivals: Vec<Arrival>) -> Result<Vec<Result<Applied, String>>, LatticeError> {
    let last = lattice.last_conflict()?;
    match lattice.apply(arrivals.clone()).await {
        Ok(applied) => return Ok(applied.into_iter().map(Ok).collect()),
        Err(error) if concerns_all(&error) => return Err(error),
        Err(_) => {}
    }
    // What came before the one that failed may be written.
    let mut kept = lattice.conflicts(last, arrivals.len())?;
    kept.extend(lattice.overruled(last, arrivals.len())?);
    let mut outcomes = Vec::with_capacity(arrivals.len());
    for arrival in arrivals {
        let id = arrival.id().clone();
        outcomes.push(match lattice.apply(vec![arrival]).await {
            Ok(applied) => match applied.first().copied() {
                Some(Applied::Same) => {
                    let number = kept.iter().find(|kept| kept.id == id).map(|kept| kept.number);
                    Ok(number.map_or(Applied::Same, |number| Applied::Taken(Some(number))))
                }
                applied => applied.ok_or_else(|| "it was not judged".to_owned()),
            },
            Err(error) if concerns_all(&error) => return Err(error),
            Err(error) => Err(error.to_string()),
        });
    }
    Ok(outcomes)
}

/// Does every other write fail for this reason as well?
pub(super) fn concerns_all(error: &LatticeError) -> bool {
    match error {
        LatticeError::Loading | LatticeError::NoSpace | LatticeError::ReadOnly(_) => true,
        LatticeError::PreconditionFailed { .. }
        | LatticeError::Contested { .. }
        | LatticeError::Unavailable(_)
        | LatticeError::WaitingFull { .. }
        | LatticeError::BoundReached { .. }
        | LatticeError::HistoryFull { .. }
        | LatticeError::Io(_) => false,
    }
}

/// The verdict that an outcome shows.
fn verdict(applied: Applied) -> Verdict {
    match applied {
        Applied::Taken(_) => Verdict::Take,
        Applied::Same => Verdict::Same,
        // Only deletions wait, and none is offered; what is left out without a budget is an error.
        Applied::Kept | Applied::Waiting | Applied::LeftOut => Verdict::Keep,
        Applied::Ahead => Verdict::Ahead,
    }
}

fn fate(held: Option<Version>, offered: Version, verdict: Verdict) -> Fate {
    match (verdict, held) {
        (Verdict::Ahead, _) => {
            Fate::Refused(format!("it is dated more than {} s ahead of this machine's clock", MAX_AHEAD.as_secs()))
        }
        (Verdict::Same | Verdict::Later | Verdict::Take, Some(held)) if held.content == offered.content => {
            Fate::Unchanged
        }
        // The node had another content when this began: a first attempt wrote this one, and failed at another node.
        (Verdict::Same | Verdict::Later, Some(Version { content: Some(_), .. })) => Fate::Replaced,
        (Verdict::Same | Verdict::Later, _) => Fate::Added,
        (Verdict::Take, Some(Version { content: Some(_), .. })) => Fate::Replaced,
        (Verdict::Take, _) => Fate::Added,
        (Verdict::Keep, Some(Version { content: None, .. })) => Fate::KeptDeleted,
        (Verdict::Keep, _) => Fate::Kept,
    }
}

fn take_into_files(
    directory: &OfflineDirectory,
    offered: Vec<Offered>,
    now: Timestamp,
    dry: bool,
) -> Result<TakenVersions, OfflineError> {
    let mut taken = TakenVersions::default();
    for run in runs(offered) {
        let (mut fates, mut places, mut versions) = (Vec::with_capacity(run.len()), Vec::new(), Vec::new());
        for Offered { node, at, .. } in run {
            // As the file is now: an edit that was made since the command began counts.
            let held = directory.node(node.id()).map(|held| held.version(now));
            let made_at = at.unwrap_or_else(|| version::time_of_undated(held.is_some(), now));
            let offered = Version { at: made_at, content: Some(node.content_hash()) };
            let verdict = judge(held.as_ref(), &offered, now);
            if verdict == Verdict::Take {
                places.push(fates.len());
                versions.push((node, at));
            }
            fates.push(fate(held, offered, verdict));
        }
        let written = directory.take_many(versions, dry)?;
        taken.kept_as.extend(written.kept_as);
        for (place, answer) in places.into_iter().zip(written.written) {
            if let Some(fate) = fates.get_mut(place) {
                *fate = match answer {
                    Ok(Written::Created(_)) => Fate::Added,
                    Ok(Written::Replaced(_)) => Fate::Replaced,
                    Ok(Written::Unchanged(_)) => Fate::Unchanged,
                    Err(error) => Fate::Refused(error.to_string()),
                };
            }
        }
        taken.fates.append(&mut fates);
    }
    Ok(taken)
}
