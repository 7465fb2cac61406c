//! `manifest build|sign|verify|publish`

use super::{
    exit::Failure,
    input,
    job::{self, CaFileArg, LatticeArg},
    output::{Output, count, printable},
};
use crate::{
    ops::{self, Canonicalization, Statement},
    settings::{Overrides, Settings},
    startup,
    types::{Limits, PeerId, SystemClock},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what the data directory holds
    #[command(after_help = "\
Examples:
  ark-lattice manifest build
  ark-lattice manifest build --seq 7 --out manifest.json

With --json and --out; without --out the manifest itself is printed:
  {\"file\": \"manifest.json\", \"bytes\": 80}")]
    Build {
        #[command(flatten)]
        speaker: Speaker,
        /// The file to write; otherwise standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Sign a manifest and print the envelope
    #[command(after_help = "\
Examples:
  ark-lattice manifest sign manifest.json > envelope.json
  ark-lattice manifest build | ark-lattice manifest sign - --form python --key other.key

The envelope states when it was signed (issued_at) and counts for 24 hours.
To publish one envelope for longer: --no-issued-at

Prints the envelope, which is JSON, with --json and without.")]
    Sign {
        /// The manifest; - for standard input.
        file: PathBuf,
        #[command(flatten)]
        signer: Signer,
    },
    /// Check an envelope: who signed it, and what it says
    #[command(after_help = "\
Exits with 5 if the signature does not verify.

Examples:
  ark-lattice manifest verify envelope.json
  curl -s https://ark.example/manifest/ark-1 | ark-lattice manifest verify -

With --json:
  {\"node_id\": \"ark-1\", \"pubkey\": \"…\", \"instance_type\": \"local\", \"seq\": 7,
   \"last_updated\": \"2026-01-01T00:00:00Z\", \"node_count\": 2,
   \"manifest_hash\": \"sha256:…\"}")]
    Verify {
        /// The envelope; - for standard input.
        file: PathBuf,
    },
    /// Sign a manifest and send it to an instance
    #[command(after_help = "\
A manifest lives as long as the other side's registry.peer_ttl says: publish
again to renew it. It states when it was signed (issued_at) and counts for 24
hours from then.

Examples:
  ark-lattice manifest publish --to https://ark.example
  ark-lattice manifest publish --to https://ark.example envelope.json

With --json, the other side's answer:
  {\"status\": \"registered\", \"node_id\": \"ark-1\", \"expires_in\": 120,
   \"trust_level\": \"pending\", \"manifest_hash\": \"sha256:…\"}")]
    Publish {
        #[command(flatten)]
        other: Other,
        /// A manifest, or an envelope that is sent as it is; otherwise what the data directory holds now.
        #[arg(conflicts_with_all = ["node_id", "seq"])]
        file: Option<PathBuf>,
        #[command(flatten)]
        speaker: Speaker,
        #[command(flatten)]
        signer: Signer,
    },
}

/// Who is told.
#[derive(Debug, clap::Args)]
pub(super) struct Other {
    /// The instance, such as http://127.0.0.1:9001.
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    authorities: CaFileArg,
}

/// Who speaks, and of what.
#[derive(Debug, clap::Args)]
pub(super) struct Speaker {
    /// The instance's id; otherwise that of the settings (ARK_NODE_ID).
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// A number that grows with every manifest.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=ops::MAX_SEQ))]
    seq: Option<u64>,
    #[command(flatten)]
    lattice: LatticeArg,
}

/// How it is signed.
#[derive(Debug, clap::Args)]
pub(super) struct Signer {
    /// How the signed bytes are made.
    #[arg(long, value_enum, default_value_t = Form::Dsse)]
    form: Form,
    /// The key file; otherwise the settings' key.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Do not sign when it is signed (issued_at): the envelope can be published again for ever, also by others.
    #[arg(long)]
    no_issued_at: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    /// DSSE: nothing is serialised again.
    Dsse,
    /// The bytes of CPython's json.dumps(manifest, sort_keys=True).
    Python,
    /// RFC 8785.
    Jcs,
}

impl From<Form> for Canonicalization {
    fn from(form: Form) -> Self {
        match form {
            Form::Dsse => Self::Dsse,
            Form::Python => Self::Python,
            Form::Jcs => Self::Jcs,
        }
    }
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Build { speaker, out } => build(&speaker, out.as_deref(), output),
        Command::Sign { file, signer } => sign(&file, &signer, output),
        Command::Verify { file } => verify(&file, output),
        Command::Publish { other, file, speaker, signer } => {
            publish(&other, file.as_deref(), &speaker, &signer, output)
        }
    }
}

/// What may stand in a file: an envelope is a third larger than its manifest.
fn file_limit(limits: &Limits) -> usize {
    limits.manifest_bytes.saturating_mul(2)
}

impl Speaker {
    /// The manifest's text.
    fn build(&self, output: &Output) -> Result<String, Failure> {
        let (settings, directory) = self.lattice.open()?;
        let node_id = match &self.node_id {
            Some(text) => PeerId::parse(text).map_err(|error| Failure::local(error).about("--node-id"))?,
            None => startup::own_id(&settings)?,
        };
        let instance_type = settings.instance.instance_type.as_str();
        let statement = Statement { node_id, instance_type, now: SystemClock::shared().now(), seq: self.seq };
        let listing = directory.list()?;
        if !listing.broken.is_empty() {
            output.remark(format!(
                "{} left out; see: ark-lattice node verify",
                count(listing.broken.len(), "broken file")
            ));
        }
        Ok(ops::build_manifest(&statement, &listing))
    }
}

impl Signer {
    /// Signs `text`; `name` is what it is called where it cannot be signed.
    fn sign(&self, name: &str, text: Bytes, settings: &Settings) -> Result<String, Failure> {
        let key = job::signing_key(settings, self.key.as_deref())?;
        let issued_at = (!self.no_issued_at).then(|| SystemClock::shared().now());
        ops::sign_manifest(text, self.form.into(), &key, issued_at, &settings.limits())
            .map_err(|error| Failure::from(error).about(name))
    }
}

fn build(speaker: &Speaker, out: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let manifest = speaker.build(output)?;
    match out {
        Some(path) => {
            let text = format!("{manifest}\n");
            ops::write_file(path, text.as_bytes())?;
            let answer = || json!({"file": path, "bytes": text.len()});
            Ok(output.answer(answer, || format!("The manifest is in {}.", path.display()))?)
        }
        None => Ok(output.line(manifest)?),
    }
}

fn sign(file: &Path, signer: &Signer, output: &Output) -> Result<(), Failure> {
    let settings = Settings::load(Overrides::new())?;
    let text = input::read(file, file_limit(&settings.limits()))?;
    let envelope = signer.sign(&input::name(file), text, &settings)?;
    Ok(output.line(envelope)?)
}

fn verify(file: &Path, output: &Output) -> Result<(), Failure> {
    let limits = Settings::load(Overrides::new())?.limits();
    let text = input::read(file, file_limit(&limits))?;
    let verified =
        ops::verify_manifest(text, &limits).map_err(|error| Failure::differs(error).about(input::name(file)))?;
    let (manifest, key) = (verified.get(), verified.public_key());
    let last_updated = manifest.last_updated().map(|at| at.to_rfc3339());
    let answer = || {
        json!({
            "node_id": manifest.peer(), "pubkey": key, "instance_type": manifest.instance_type(),
            "last_updated": last_updated, "seq": manifest.seq(), "node_count": manifest.node_count(),
            "manifest_hash": manifest.set_hash(),
        })
    };
    let text = || {
        format!(
            "signed by      {key}\nnode id        {}\nlast updated   {}\nnodes          {}\nmanifest hash  {}",
            manifest.peer(),
            last_updated.as_deref().unwrap_or("-"),
            manifest.node_count(),
            manifest.set_hash()
        )
    };
    Ok(output.answer(answer, text)?)
}

fn publish(
    other: &Other,
    file: Option<&Path>,
    speaker: &Speaker,
    signer: &Signer,
    output: &Output,
) -> Result<(), Failure> {
    let settings = speaker.lattice.settings()?;
    let limits = settings.limits();
    let client = other.authorities.client(&settings, &other.to)?;
    let text = match file {
        Some(file) => input::read(file, file_limit(&limits))?,
        None => Bytes::from(speaker.build(output)?),
    };
    let envelope = if ops::is_envelope(&text, &limits) {
        String::from_utf8_lossy(&text).into_owned()
    } else {
        signer.sign("the manifest", text, &settings)?
    };
    let answer = job::wait(ops::publish(&client, envelope, &limits))?;
    // As it came with --json: the other side may say more than we know of.
    if output.json() {
        return Ok(output.line(answer)?);
    }
    let said: Value = serde_json::from_str(&answer).map_err(Failure::local)?;
    let text = || {
        let word =
            |key: &str| said.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let or_dash = |key: &str| printable(&word(key).unwrap_or_else(|| "-".to_owned()));
        format!(
            "{} {} at {}; trust {}; expires in {} s",
            or_dash("status"),
            or_dash("node_id"),
            other.to,
            or_dash("trust_level"),
            or_dash("expires_in")
        )
    };
    Ok(output.answer_text(text)?)
}
