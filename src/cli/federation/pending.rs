//! `federation pending`, `accept`, `refuse`: unknown instances that ask to write here.

use super::{
    CONTROLS,
    model::{ago, instant},
    print,
};
use crate::{
    cli::{
        exit::Failure,
        invite::fingerprint,
        output::{Output, count},
        service::Service,
    },
    ops::{Ask, percent_encode},
    types::SystemClock,
};
use serde::Deserialize;
use serde_json::{Number, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pending {
    node_id: String,
    public_key: String,
    address: Option<String>,
    known: bool,
    first_seen: Number,
    last_seen: Number,
    count: u64,
}

#[derive(Debug, Deserialize)]
struct PendingList {
    pending: Vec<Pending>,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    peer_id: String,
    public_key: String,
    words: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    keys: usize,
}

pub(super) fn list(service: &Service, output: &Output) -> Result<(), Failure> {
    let answer = service.ask(Ask::Get, &format!("{CONTROLS}/pending"), None)?;
    if output.json() {
        return print(output, &answer, String::new);
    }
    let pending = service.read::<PendingList>(&answer)?.pending;
    if pending.is_empty() {
        output.remark("No instance waits.");
        return Ok(());
    }
    let now = SystemClock::shared().now();
    let time = |seconds: &Number| instant(seconds).map_or_else(|| "-".to_owned(), |then| ago(then, now));
    let row = |it: &Pending| {
        let known = if it.known { "yes" } else { "-" };
        vec![
            it.node_id.clone(),
            it.address.clone().unwrap_or_else(|| "-".to_owned()),
            time(&it.first_seen),
            time(&it.last_seen),
            it.count.to_string(),
            known.to_owned(),
            fingerprint(&it.public_key),
            it.public_key.clone(),
        ]
    };
    let header = ["id", "address", "first", "last", "asked", "known", "fingerprint", "key"];
    output.table(&header, pending.iter().map(row))?;
    output.remark(format!(
        "{}. Compare the fingerprint with the other machine (ark-lattice key show), then:",
        count(pending.len(), "instance")
    ));
    output.remark("  ark-lattice federation accept ID --key KEY   takes its changes from then on");
    output.remark("  ark-lattice federation refuse ID             does not list it for a week");
    Ok(())
}

pub(super) fn accept(
    peer: &str,
    key: Option<&str>,
    reason: Option<&str>,
    service: &Service,
    output: &Output,
) -> Result<(), Failure> {
    let body = json!({ "publicKey": key, "reason": reason.unwrap_or("accepted by the admin") });
    // A member that is null is no key.
    let body = if key.is_some() { body } else { json!({ "reason": body.get("reason") }) };
    let path = format!("{CONTROLS}/pending/{}/accept", percent_encode(peer));
    let answer = service.ask(Ask::Post, &path, Some(body.to_string()))?;
    let it: Accepted = service.read(&answer)?;
    print(output, &answer, || {
        let words = it.words.as_deref().unwrap_or("-");
        format!(
            "{} is verified: {} ({})\n  these words are the same on both machines (there: ark-lattice federation trust show):\n  {words}",
            it.peer_id,
            it.public_key,
            fingerprint(&it.public_key)
        )
    })
}

pub(super) fn refuse(peer: &str, key: Option<&str>, service: &Service, output: &Output) -> Result<(), Failure> {
    let body = key.map_or_else(|| json!({}), |key| json!({ "publicKey": key }));
    let path = format!("{CONTROLS}/pending/{}/refuse", percent_encode(peer));
    let answer = service.ask(Ask::Post, &path, Some(body.to_string()))?;
    let refused: Refused = service.read(&answer)?;
    print(output, &answer, || {
        format!(
            "{} of {peer} refused; not listed again for a week. To refuse it for good: ark-lattice federation trust revoke {peer}",
            count(refused.keys, "key")
        )
    })
}
