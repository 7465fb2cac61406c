//! `federation trust …`: whose key may do what.

use super::print;
use crate::{
    cli::{
        exit::Failure,
        output::{Output, count},
        service::{Service, ServiceArg},
    },
    ops::{Ask, percent_encode},
};
use bytes::Bytes;
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What they are under.
const TRUST: &str = "v1/trust";

/// How a peer proves who it is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Method {
    /// By its key.
    Signature,
    /// By a certificate of an authority in trust.ca_file that names it.
    Certificate,
}

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// Have a peer prove its key, and trust it
    #[command(after_help = "\
Verified at once over https:// with --id, or with --public-key; otherwise
pending, with words that both operators compare (see show and verify).

Examples:
  ark-lattice federation trust add --peer https://peer.example --id ark-2
  ark-lattice federation trust add --peer http://192.168.1.100:9000 --id ark-2
  ark-lattice federation trust add --peer https://peer.example --method certificate

With --json; status is established or pending:
  {\"status\": \"pending\", \"peer_address\": \"http://192.168.1.100:9000\", \"verification_method\": \"signature\",
   \"peer_id\": \"ark-2\", \"public_key\": \"…\", \"trust_level\": \"pending\", \"established_at\": \"2026-01-01T00:00:00Z\",
   \"by\": \"signature\", \"reason\": \"…\", \"quarantined\": false, \"successor\": null, \"signature\": \"…\", \"words\": \"…\"}")]
    Add {
        /// Where it answers.
        #[arg(long, value_name = "URL")]
        peer: String,
        /// Its id; otherwise whichever instance answers there.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// How it proves who it is.
        #[arg(long, value_enum, default_value = "signature")]
        method: Method,
        /// Its key, as its operator says it.
        #[arg(long, value_name = "KEY")]
        public_key: Option<String>,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// List every key that something was decided of
    #[command(after_help = "\
Examples:
  ark-lattice federation trust list
  ark-lattice federation trust list --json | jq -r '.relationships[].peer_id'

With --json:
  {\"relationships\": [{\"peer_id\": \"ark-2\", \"public_key\": \"…\", \"trust_level\": \"verified\",
   \"established_at\": \"2026-01-01T00:00:00Z\", \"by\": \"operator\", \"reason\": \"\", \"quarantined\": false,
   \"successor\": null, \"signature\": \"…\"}], \"count\": 1}")]
    List {
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Show what was decided of a peer's keys, and the words to compare
    #[command(after_help = "\
Read the words to the operator there: they are the same on both sides, unless
somebody stands between. Then: ark-lattice federation trust verify

Examples:
  ark-lattice federation trust show ark-2

With --json, as list, each with its words:
  {\"relationships\": [{\"peer_id\": \"ark-2\", \"public_key\": \"…\", \"trust_level\": \"pending\",
   \"established_at\": \"2026-01-01T00:00:00Z\", \"by\": \"signature\", \"reason\": \"…\", \"quarantined\": false,
   \"successor\": null, \"signature\": \"…\", \"words\": \"…\"}], \"count\": 1}")]
    Show {
        /// The instance's id.
        #[arg(value_name = "ID")]
        peer: String,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Verify a peer's key, after words or keys were compared
    #[command(after_help = "\
Also ends a quarantine, and lets an instance begin anew that was restored from
a copy.

Examples:
  ark-lattice federation trust verify ark-2 --words 'eight words that the other operator reads aloud'
  ark-lattice federation trust verify ark-2 --public-key KEY --reason 'read from its screen'

With --json:
  {\"peer_id\": \"ark-2\", \"public_key\": \"…\", \"trust_level\": \"verified\", \"established_at\": \"2026-01-01T00:00:00Z\",
   \"by\": \"operator\", \"reason\": \"\", \"quarantined\": false, \"successor\": null, \"signature\": null, \"words\": \"…\"}")]
    #[command(group = clap::ArgGroup::new("compared").required(true).args(["words", "public_key"]))]
    Verify {
        /// The instance's id.
        #[arg(value_name = "ID")]
        peer: String,
        /// The words, as the other operator reads them.
        #[arg(long, value_name = "WORDS")]
        words: Option<String>,
        /// The key, as the other operator says it.
        #[arg(long, value_name = "KEY")]
        public_key: Option<String>,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Take nothing more from a peer, from the next moment on; what came from it stays
    #[command(after_help = "\
Examples:
  ark-lattice federation trust revoke ark-2 --reason 'its machine was stolen'

With --json, as list:
  {\"relationships\": [{\"peer_id\": \"ark-2\", \"public_key\": \"…\", \"trust_level\": \"revoked\",
   \"established_at\": \"2026-01-01T00:00:00Z\", \"by\": \"operator\", \"reason\": \"its machine was stolen\",
   \"quarantined\": false, \"successor\": null, \"signature\": null}], \"count\": 1}")]
    Revoke {
        /// The instance's id.
        #[arg(value_name = "ID")]
        peer: String,
        /// Only this key; otherwise every key that is known of it.
        #[arg(long, value_name = "KEY")]
        public_key: Option<String>,
        /// Why, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: ServiceArg,
    },
    /// Tell every peer that the key which is verified here is the right one
    #[command(after_help = "\
It counts where this instance's own key is verified, and trust.vouchers says
how many it takes.

Examples:
  ark-lattice federation trust vouch ark-2

With --json; told says how many peers took it:
  {\"status\": \"vouched\", \"peer_id\": \"ark-2\", \"told\": 3}")]
    Vouch {
        /// The instance's id.
        #[arg(value_name = "ID")]
        peer: String,
        #[command(flatten)]
        service: ServiceArg,
    },
}

#[derive(Debug, Deserialize)]
struct Relationship {
    peer_id: String,
    public_key: String,
    trust_level: String,
    established_at: String,
    by: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    quarantined: bool,
    words: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Relationships {
    relationships: Vec<Relationship>,
}

#[derive(Debug, Deserialize)]
struct Vouched {
    told: usize,
}

/// The members that were given.
fn body(members: &[(&str, Option<&str>)]) -> String {
    let given = members.iter().filter_map(|(name, value)| Some(((*name).to_owned(), Value::from((*value)?))));
    Value::Object(Map::from_iter(given)).to_string()
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Add { peer, id, method, public_key, service } => {
            let method = match method {
                Method::Signature => "signature",
                Method::Certificate => "certificate",
            };
            let members = [
                ("peer_address", Some(peer.as_str())),
                ("peer_id", id.as_deref()),
                ("verification_method", Some(method)),
                ("public_key", public_key.as_deref()),
            ];
            let service = service.open(output)?;
            let answer = service.ask(Ask::Post, &format!("{TRUST}/establish"), Some(body(&members)))?;
            said(&service, &answer, output)
        }
        Command::List { service } => {
            let service = service.open(output)?;
            let answer = service.ask(Ask::Get, &format!("{TRUST}/relationships"), None)?;
            listed(&service, &answer, output)
        }
        Command::Show { peer, service } => {
            let service = service.open(output)?;
            let path = format!("{TRUST}/relationships/{}", percent_encode(&peer));
            let answer = service.ask(Ask::Get, &path, None)?;
            shown(&service, &answer, output)
        }
        Command::Verify { peer, words, public_key, reason, service } => {
            let members = [
                ("peer_id", Some(peer.as_str())),
                ("words", words.as_deref()),
                ("public_key", public_key.as_deref()),
                ("reason", reason.as_deref()),
            ];
            let service = service.open(output)?;
            let answer = service.ask(Ask::Post, &format!("{TRUST}/verify"), Some(body(&members)))?;
            said(&service, &answer, output)
        }
        Command::Revoke { peer, public_key, reason, service } => {
            let members = [
                ("peer_id", Some(peer.as_str())),
                ("public_key", public_key.as_deref()),
                ("reason", reason.as_deref()),
            ];
            let service = service.open(output)?;
            let answer = service.ask(Ask::Post, &format!("{TRUST}/revoke"), Some(body(&members)))?;
            listed(&service, &answer, output)
        }
        Command::Vouch { peer, service } => {
            let service = service.open(output)?;
            let answer =
                service.ask(Ask::Post, &format!("{TRUST}/vouch"), Some(body(&[("peer_id", Some(peer.as_str()))])))?;
            let told = service.read::<Vouched>(&answer)?.told;
            print(output, &answer, || format!("{} took it", count(told, "peer")))
        }
    }
}

/// One key, in a sentence.
fn said(service: &Service, answer: &Bytes, output: &Output) -> Result<(), Failure> {
    let it: Relationship = service.read(answer)?;
    print(output, answer, || match (it.trust_level.as_str(), &it.words) {
        ("pending", Some(words)) => format!(
            "{} is pending: nobody knows yet whether that key is its own. Compare these words with its operator:\n  \
             {words}\nThen: ark-lattice federation trust verify {} --words '…'",
            it.peer_id, it.peer_id
        ),
        (level, _) => format!("{} is {level}: {}", it.peer_id, it.public_key),
    })
}

fn listed(service: &Service, answer: &Bytes, output: &Output) -> Result<(), Failure> {
    if output.json() {
        return print(output, answer, String::new);
    }
    let found = service.read::<Relationships>(answer)?.relationships;
    if found.is_empty() {
        output.remark(
            "No key is verified, revoked or in quarantine; begin with: ark-lattice federation trust add --peer URL\n\
             Keys of peers are pinned at the first contact: ark-lattice federation list-peers --json",
        );
        return Ok(());
    }
    let row = |it: &Relationship| {
        let level = if it.quarantined { format!("{} (quarantined)", it.trust_level) } else { it.trust_level.clone() };
        vec![
            it.peer_id.clone(),
            level,
            it.established_at.clone(),
            it.by.clone(),
            it.reason.clone(),
            it.public_key.clone(),
        ]
    };
    Ok(output.table(&["id", "trust", "since", "by", "why", "key"], found.iter().map(row))?)
}

fn shown(service: &Service, answer: &Bytes, output: &Output) -> Result<(), Failure> {
    if !output.json() {
        for it in service.read::<Relationships>(answer)?.relationships {
            if let Some(words) = it.words {
                output.answer_text(|| format!("{} {}\n  {words}", it.trust_level, it.public_key))?;
            }
        }
    }
    listed(service, answer, output)
}
