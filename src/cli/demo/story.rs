//! What the three instances do, in order. Each step checks what it shows: a demo that ends well has seen the system work.

use super::stage::{Actor, Stage};
use crate::{
    cli::{
        exit::Failure,
        output::{count, printable, size},
    },
    ops::{self, KeyPair, PeerQuery, PullReport},
    types::{NodeId, SetHash},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// The node that two instances edit, and how much earlier the edit is that loses.
const CONTESTED: &str = "rust_newtype_id";
const EARLIER: Duration = Duration::from_secs(30);
/// The field that is edited.
const FIELD: &str = "demo_note";
/// Shown of a text that is long.
const SHOWN_CHARS: usize = 72;

pub(super) async fn tell(stage: &Stage<'_>, folder: &str) -> Result<(), Failure> {
    introduce(stage, folder).await?;
    let first = announce(stage).await?;
    refuse(stage, &first).await?;
    find(stage).await?;
    exchange(stage).await?;
    edit(stage).await?;
    stage.say(
        || json!({"step": "end", "ok": true}),
        || {
            "\nThat is all of it: signed statements, a registry that forgets, and only what differs on the wire.\n\
             Your own: ark-lattice init, then ark-lattice serve"
                .to_owned()
        },
    )
}

async fn introduce(stage: &Stage<'_>, folder: &str) -> Result<(), Failure> {
    stage.heading(&format!("Three instances, each with a directory and a key of its own, in {folder}"))?;
    let mut rows = Vec::new();
    for actor in stage.all() {
        let instance = actor.instance;
        instance.seen(&actor.client).await?;
        let (nodes, key) = (instance.listing()?.nodes.len(), instance.key.public_key());
        if stage.output.json() {
            stage.output.line(
                json!({"step": "instance", "name": instance.name, "url": actor.url, "nodes": nodes, "public_key": key}),
            )?;
        }
        rows.push(vec![instance.name.to_owned(), actor.url.clone(), nodes.to_string(), key.to_string()]);
    }
    Ok(stage.output.answer_table(&["instance", "url", "nodes", "public key"], rows)?)
}

/// Everybody tells everybody what they hold. Gives the laptop's first envelope.
async fn announce(stage: &Stage<'_>) -> Result<String, Failure> {
    stage.heading("1. Each signs a manifest of what it holds, and tells the others")?;
    let mut first = String::new();
    for actor in stage.all() {
        let instance = actor.instance;
        let manifest = instance.manifest(1)?;
        let envelope = instance.sign(&manifest, &instance.key)?;
        for other in stage.all() {
            other.register(envelope.clone()).await?;
        }
        let text = shown(&manifest);
        let signed: Value = serde_json::from_str(&envelope).map_err(Failure::local)?;
        let signature = signed.get("signature").and_then(Value::as_str).unwrap_or_default();
        stage.say(
            || json!({"step": "manifest", "from": instance.name, "bytes": manifest.len(), "signature": signature}),
            || format!("  {:7} {text}\n          {} bytes, signed {signature}", instance.name, manifest.len()),
        )?;
        if first.is_empty() {
            first = envelope;
        }
    }
    Ok(first)
}

/// What is not right is not taken.
async fn refuse(stage: &Stage<'_>, first: &str) -> Result<(), Failure> {
    stage.heading("2. What is not right is refused")?;
    let (cloud, laptop) = (&stage.cloud, stage.laptop.instance);
    // The manifest says another type than the one that was signed.
    let tampered = first.replacen("\"instance_type\": \"local\"", "\"instance_type\": \"cloud\"", 1);
    refused(stage, "one word changed after signing", cloud.refusal(tampered).await?)?;
    let thief = KeyPair::generate().map_err(Failure::local)?;
    let stolen = laptop.sign(&laptop.manifest(2)?, &thief)?;
    refused(stage, "the laptop's name under another key", cloud.refusal(stolen).await?)?;
    let newer = laptop.sign(&laptop.manifest(2)?, &laptop.key)?;
    for actor in stage.all() {
        actor.register(newer.clone()).await?;
    }
    refused(stage, "an old manifest after a newer one", cloud.refusal(first.to_owned()).await?)
}

fn refused(stage: &Stage<'_>, what: &str, (status, code, detail): (u16, String, String)) -> Result<(), Failure> {
    stage.say(
        || json!({"step": "refused", "what": what, "status": status, "code": code, "detail": detail}),
        || format!("  {what:36} {status} {code}: {}", shown(&detail)),
    )
}

async fn find(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.heading("3. They find each other: what the cloud's registry answers, for the next two minutes")?;
    let limits = stage.cloud.instance.settings.limits();
    let peers = ops::discover_remote(&stage.cloud.client, &PeerQuery::default(), &limits).await?;
    let found: BTreeSet<&str> = peers.iter().map(|peer| peer.node_id.as_str()).collect();
    if found != stage.all().map(|actor| actor.instance.name).into_iter().collect() {
        return Err(Failure::differs(format!("the cloud lists {found:?}")));
    }
    if stage.output.json() {
        for peer in &peers {
            stage.output.line(format!("{{\"step\":\"peer\",\"peer\":{}}}", peer.text))?;
        }
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows = peers.iter().map(|peer| {
        let cells = [&peer.instance_type, &peer.trust_level, &peer.node_count, &peer.expires_in].map(or_dash);
        std::iter::once(peer.node_id.clone()).chain(cells).collect()
    });
    Ok(stage.output.answer_table(&["id", "type", "trust", "nodes", "expires in s"], rows)?)
}

async fn exchange(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.heading(&format!(
        "4. They exchange what differs; {CONTESTED} was edited on two of them, the later edit wins"
    ))?;
    let (laptop, cloud, pi) = (&stage.laptop, &stage.cloud, &stage.pi);
    let contested = NodeId::parse(CONTESTED).map_err(Failure::local)?;
    let now = stage.clock.now();
    // Two of the three have it; which ones is of no interest here.
    let mut owners = stage.all().into_iter().filter(|actor| actor.instance.directory.node(&contested).is_some());
    if let (Some(loser), Some(winner)) = (owners.next(), owners.next()) {
        loser.instance.edit_field(&contested, FIELD, "the earlier edit", now.minus(EARLIER))?;
        winner.instance.edit_field(&contested, FIELD, "the later edit", now)?;
        loser.instance.seen(&loser.client).await?;
        winner.instance.seen(&winner.client).await?;
    }
    for (to, from) in [(laptop, cloud), (laptop, pi), (cloud, laptop), (pi, laptop)] {
        pulled(stage, to, from, &to.pull(from).await?)?;
    }
    for actor in stage.all() {
        if actor.instance.field(&contested, FIELD)?.as_deref() != Some("the later edit") {
            return Err(Failure::differs(format!("{} holds the earlier edit", actor.instance.name)));
        }
    }
    in_step(stage).await
}

async fn edit(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.heading("5. One file is edited on the pi: one node crosses the wire")?;
    let (laptop, cloud, pi) = (&stage.laptop, &stage.cloud, &stage.pi);
    let id = NodeId::parse(CONTESTED).map_err(Failure::local)?;
    pi.instance.edit_field(&id, FIELD, "edited on the pi", stage.clock.now())?;
    pi.instance.seen(&pi.client).await?;
    for to in [cloud, laptop] {
        let report = to.pull(pi).await?;
        if (report.added, report.replaced) != (0, 1) {
            return Err(Failure::differs(format!("{} took {report:?}", to.instance.name)));
        }
        pulled(stage, to, pi, &report)?;
    }
    in_step(stage).await
}

fn pulled(stage: &Stage<'_>, to: &Actor<'_>, from: &Actor<'_>, report: &PullReport) -> Result<(), Failure> {
    let (to, from) = (to.instance.name, from.instance.name);
    let PullReport { added, replaced, bytes, .. } = report;
    let kept = report.kept.len();
    stage.say(
        || json!({"step": "pull", "to": to, "from": from, "added": added, "replaced": replaced, "kept": kept, "bytes": bytes}),
        || {
            let came = size(*bytes);
            format!("  {to:7} takes from {from:7} {}, {replaced} replaced, {kept} kept; {came}", count(*added, "new node"))
        },
    )
}

/// All three hold the same set, and their services say so.
async fn in_step(stage: &Stage<'_>) -> Result<(), Failure> {
    let mut hashes: Vec<SetHash> = Vec::new();
    for actor in stage.all() {
        hashes.push(actor.instance.seen(&actor.client).await?);
    }
    let first = hashes.first().copied();
    if hashes.iter().any(|hash| Some(*hash) != first) {
        return Err(Failure::differs(format!("they are not in step: {hashes:?}")));
    }
    let hash = first.map(|hash| hash.to_string()).unwrap_or_default();
    stage.say(|| json!({"step": "in_step", "manifest_hash": hash}), || format!("  In step, all three: {hash}"))
}

/// The beginning of a text, on one line.
fn shown(text: &str) -> String {
    let mut line: String = printable(text).chars().take(SHOWN_CHARS).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}
