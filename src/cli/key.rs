//! `key`: what the instance's key is, and how another takes its place.

mod secret;

use super::{
    exit::{Exit, Failure},
    job,
    output::Output,
};
use crate::{
    ops::{self, Change, Held, KeyLog, KeyPlace, MAX_REASON_CHARS, RecoveryWords, StatementKind, WORDS},
    settings::{Overrides, Settings},
    startup,
    types::{PublicKey, SystemClock},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

pub(super) use secret::{new_passphrase, unlock};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the key, its recovery key and its statements
    #[command(after_help = SHOW)]
    Show,
    /// Put a new key in the place of the old one; the instance stays who it is
    #[command(after_help = ROTATE)]
    Rotate {
        #[command(flatten)]
        secret: SecretArg,
        /// Also make 24 recovery words, where there are none yet.
        #[arg(long)]
        words: bool,
        #[command(flatten)]
        tell: Tell,
    },
    /// Say that the key speaks no more: it was stolen, or the instance ends
    #[command(after_help = REVOKE)]
    Revoke {
        /// Why, for those who are told; at most 200 characters.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: Option<String>,
        /// By the word of the recovery key: for a key that is lost.
        #[arg(long)]
        with_words: bool,
        #[command(flatten)]
        words: WordsArg,
        #[command(flatten)]
        tell: Tell,
    },
    /// Put a new key in the place of a lost, stolen or revoked one, with the recovery words
    #[command(after_help = RECOVER)]
    Recover {
        #[command(flatten)]
        secret: SecretArg,
        /// Also make new recovery words in the place of the old ones.
        #[arg(long)]
        new_words: bool,
        #[command(flatten)]
        words: WordsArg,
        #[command(flatten)]
        tell: Tell,
    },
    /// Put the key's file under a passphrase, or under another one
    #[command(after_help = ENCRYPT)]
    Encrypt {
        /// File with the new passphrase; otherwise it is asked for on a terminal, or ARK_KEY_PASSPHRASE holds it.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Take the passphrase off the key's file
    #[command(after_help = DECRYPT)]
    Decrypt,
    /// Make the 24 recovery words, and announce the key that they stand for
    #[command(after_help = MAKE_WORDS)]
    Words {
        #[command(flatten)]
        secret: SecretArg,
        /// Only say whether the words that are typed, or in --words-file, are those of this instance.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        words: WordsArg,
        #[command(flatten)]
        tell: Tell,
    },
}

const SHOW: &str = "\
Needs no passphrase.

Examples:
  ark-lattice key show
  ark-lattice key show --json | jq -r .public_key

With --json:
  {\"file\": \"ark_state/identity.key\", \"public_key\": \"…\", \"fingerprint\": \"SHA256:…\", \"encrypted\": false, \"status\": \"current\",
   \"recovery_key\": null, \"since\": \"2026-11-21T10:00:00Z\", \"statements\": 0}";
const ROTATE: &str = "\
The old and the new key both sign that the new one takes over. A running service
takes it within a second and tells its peers; peers that are away learn of it
when they are back. From then on they refuse the old key. Where no service runs,
--to tells an instance. A process that is killed meanwhile leaves a key that
works.

Examples:
  ark-lattice key rotate
  ark-lattice key rotate --to https://ark.example

With --json:
  {\"file\": \"ark_state/identity.key\", \"public_key\": \"…\", \"status\": \"current\", \"recovery_key\": \"…\",
   \"words\": null, \"told\": [\"https://ark.example\"]}";
const REVOKE: &str = "\
Every peer that is told refuses the key from then on, on every door. Only the
recovery words can put another key in its place.

Examples:
  ark-lattice key revoke --reason 'laptop stolen' --to https://ark.example
  ark-lattice key revoke --with-words --words-file words.txt --to https://ark.example

With --json:
  {\"public_key\": \"…\", \"status\": \"revoked\", \"told\": [\"https://ark.example\"]}";
const RECOVER: &str = "\
Needs the 24 words, the instance's id, and nothing else: neither the old key nor
its files. Where a thief has already put a key of his own in the place of the
stolen one, the recovery key's word stands above his. The words are typed on a
terminal, where they are not shown, or read from a file.

Examples:
  ark-lattice key recover
  ark-lattice key recover --words-file words.txt --new-words --to https://ark.example

With --json as rotate; new words are in \"words\".";
const ENCRYPT: &str = "\
The file is encrypted with XChaCha20-Poly1305, under a key that argon2id makes of
the passphrase (64 MiB, 3 passes). The service needs the passphrase to start: in
ARK_KEY_PASSPHRASE_FILE, in ARK_KEY_PASSPHRASE, or typed on its terminal.

Examples:
  ark-lattice key encrypt
  ark-lattice key encrypt --passphrase-file /run/secrets/ark-passphrase

With --json:
  {\"file\": \"ark_state/identity.key\", \"public_key\": \"…\", \"encrypted\": true}";
const DECRYPT: &str = "\
The file is then one line of base64 (mode 0600), as scripts read it.

Examples:
  ark-lattice key decrypt

With --json:
  {\"file\": \"ark_state/identity.key\", \"public_key\": \"…\", \"encrypted\": false}";
const MAKE_WORDS: &str = "\
The words are shown once, on a terminal; elsewhere only with --print-secret. Write
them on paper, and keep that where neither fire nor thieves find it together with
the machine: with them another key can take the place of yours. Peers remember the recovery key from the first
statement that they see.

Examples:
  ark-lattice key words
  ark-lattice key words --check

With --json:
  {\"words\": \"abandon …\", \"recovery_key\": \"…\", \"told\": []}";

/// Where the recovery words come from.
#[derive(Debug, clap::Args)]
pub(super) struct WordsArg {
    /// File with the 24 words, - for standard input; otherwise they are typed on a terminal.
    #[arg(long, value_name = "FILE")]
    words_file: Option<PathBuf>,
}

/// Whether secrets may go where they would stay.
#[derive(Debug, clap::Args)]
pub(super) struct SecretArg {
    /// Print recovery words also where standard output is no terminal: into a file, a pipe, a log.
    #[arg(long)]
    print_secret: bool,
}

impl SecretArg {
    /// Fails, before anything is changed, where the words would go into a file or a log that nobody meant them for.
    fn check(&self) -> Result<(), Failure> {
        if self.print_secret || io::stdout().is_terminal() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            "standard output is no terminal, and recovery words are a secret: add --print-secret to print them all the same",
        ))
    }
}

/// Who is told at once.
#[derive(Debug, clap::Args)]
pub(super) struct Tell {
    /// Tell this instance at once; may be given several times. A running service tells its peers by itself.
    #[arg(long, value_name = "URL")]
    to: Vec<String>,
    #[command(flatten)]
    ca: job::CaFileArg,
}

fn reason(text: &str) -> Result<String, String> {
    if text.chars().count() > MAX_REASON_CHARS {
        return Err(format!("at most {MAX_REASON_CHARS} characters"));
    }
    Ok(text.to_owned())
}

/// What all of them work on.
struct Job {
    settings: Settings,
    place: KeyPlace,
    change: Change,
    output: Output,
}

impl Job {
    /// `is_change`: the id may have to be made for it.
    fn new(output: Output, is_change: bool) -> Result<Self, Failure> {
        let settings = Settings::load(Overrides::new())?;
        let place = startup::key_place(&settings).ok_or_else(|| {
            Failure::local(
                "the key is in ARK_FED_PRIVKEY (instance.private_key), where it cannot be changed: put it into a file, mode 0600, and \
                 name that in instance.key_file",
            )
        })?;
        let node_id = if is_change { startup::own_id(&settings)? } else { settings.node_id()? };
        let change = Change { node_id, now: SystemClock::shared().now() };
        Ok(Self { settings, place, change, output })
    }

    /// The passphrase of the file as it is, asked for where it is needed.
    fn passphrase(&mut self) -> Result<Option<SecretString>, Failure> {
        unlock(&mut self.settings)?;
        Ok(self.settings.instance.key_passphrase.clone())
    }

    /// Tells the instances that were named; whom.
    fn tell(&self, tell: &Tell, log: &KeyLog) -> Result<Vec<String>, Failure> {
        for url in &tell.to {
            let client = tell.ca.client(&self.settings, url)?;
            let said = job::wait(client.rotate(log.to_json()));
            said.map_err(|failure| failure.about(format!("the key was changed here, but {url} did not take it")))?;
        }
        Ok(tell.to.clone())
    }

    fn changed(&self, held: &Held, words: Option<&RecoveryWords>, tell: &Tell) -> Result<(), Failure> {
        // Shown before anybody is told: they are nowhere else.
        if let Some(words) = words.filter(|_| !self.output.json()) {
            show_words(&self.output, words)?;
        }
        let told = self.tell(tell, &held.log);
        let public_key = held.key.public_key();
        let answer = || {
            json!({
                "file": self.place.path(), "public_key": public_key, "status": "current",
                "recovery_key": held.recovery_key(), "words": words.map(text_of), "told": told.as_ref().ok(),
            })
        };
        self.output.answer(answer, || format!("The key is now {public_key}"))?;
        told.map(drop)
    }
}

pub(super) fn run(command: Command, output: &Output) -> Result<(), Failure> {
    let mut job = Job::new(*output, !matches!(command, Command::Show))?;
    match command {
        Command::Show => show(&job),
        Command::Rotate { secret, words, tell } => {
            if words {
                secret.check()?;
            }
            let passphrase = job.passphrase()?;
            let words = words.then(RecoveryWords::generate).transpose()?;
            let key = words.as_ref().map(RecoveryWords::key).transpose()?;
            let pass = passphrase.as_ref();
            let held = job.place.rotate(&job.change, key.as_ref(), pass, pass)?;
            job.changed(&held, words.as_ref(), &tell)
        }
        Command::Revoke { reason, with_words, words, tell } => revoke(&mut job, reason, with_words, &words, &tell),
        Command::Recover { secret, new_words, words, tell } => {
            if new_words {
                secret.check()?;
            }
            let old = words.read()?.key()?;
            let words = new_words.then(RecoveryWords::generate).transpose()?;
            let key = words.as_ref().map(RecoveryWords::key).transpose()?;
            let passphrase = job.settings.instance.key_passphrase.clone();
            if let Some(folder) = job.place.path().parent() {
                ops::make_directory(folder, 0o700)?;
            }
            let held = job.place.recover(&job.change, &old, key.as_ref(), passphrase.as_ref())?;
            job.changed(&held, words.as_ref(), &tell)
        }
        Command::Encrypt { passphrase_file } => {
            let old = if job.place.is_encrypted()? { job.passphrase()? } else { None };
            let new = new_passphrase(&job.settings, passphrase_file.as_deref())?;
            resealed(&job, old.as_ref(), Some(&new))
        }
        Command::Decrypt => {
            let old = job.passphrase()?;
            resealed(&job, old.as_ref(), None)
        }
        Command::Words { secret, check, words, tell } => {
            if !check {
                secret.check()?;
            }
            make_words(&mut job, check, &words, &tell)
        }
    }
}

impl WordsArg {
    fn read(&self) -> Result<RecoveryWords, Failure> {
        secret::read_words(self.words_file.as_deref())
    }
}

fn text_of(words: &RecoveryWords) -> String {
    words.to_text().expose_secret().to_owned()
}

fn show_words(output: &Output, words: &RecoveryWords) -> Result<(), Failure> {
    output.remark(format!("The {WORDS} recovery words. They are shown this once: write them down, on paper."));
    Ok(output.line(text_of(words))?)
}

fn show(job: &Job) -> Result<(), Failure> {
    let shown = job.place.shown()?.ok_or_else(|| {
        Failure::local(format!("there is no key in {}; make one with: ark-lattice keygen", job.place.path().display()))
    })?;
    let status = if shown.revoked { "revoked" } else { "current" };
    let since = shown.since.map(|at| at.to_rfc3339());
    let answer = || -> Value {
        json!({
            "file": job.place.path(), "public_key": shown.public_key, "fingerprint": shown.public_key.fingerprint(), "encrypted": shown.encrypted, "status": status,
            "recovery_key": shown.recovery_key, "since": since, "statements": shown.statements,
        })
    };
    let text = || {
        let none = "none; make one with: ark-lattice key words";
        let recovery = shown.recovery_key.map_or_else(|| none.to_owned(), |key: PublicKey| key.to_base64());
        format!(
            "public key    {} ({status})\nfingerprint   {}, as other machines show it\nrecovery key  {recovery}\nfile          {}{}\nsince         {}\nstatements    {}",
            shown.public_key,
            shown.public_key.fingerprint(),
            job.place.path().display(),
            if shown.encrypted { " (encrypted)" } else { "" },
            since.as_deref().unwrap_or("unknown"),
            shown.statements,
        )
    };
    Ok(job.output.answer(answer, text)?)
}

fn revoke(
    job: &mut Job,
    reason: Option<String>,
    with_words: bool,
    words: &WordsArg,
    tell: &Tell,
) -> Result<(), Failure> {
    let key = if with_words || words.words_file.is_some() { Some(words.read()?.key()?) } else { None };
    let passphrase = if key.is_none() { job.passphrase()? } else { None };
    let log = job.place.revoke(&job.change, key.as_ref(), reason, passphrase.as_ref())?;
    let told = job.tell(tell, &log);
    let public_key = log.tip().map(|tip| tip.public_key);
    let answer = || json!({"public_key": public_key, "status": StatementKind::Revoke.as_str().to_owned() + "d", "told": told.as_ref().ok()});
    let named = public_key.map_or_else(String::new, |key| key.to_base64());
    job.output.answer(answer, || {
        format!("The key {named} is revoked. Another takes its place with: ark-lattice key recover")
    })?;
    told.map(drop)
}

fn resealed(job: &Job, old: Option<&SecretString>, new: Option<&SecretString>) -> Result<(), Failure> {
    let public_key = job.place.reseal(old, new)?;
    let answer = || json!({"file": job.place.path(), "public_key": public_key, "encrypted": new.is_some()});
    let word = if new.is_some() { "encrypted" } else { "no longer encrypted" };
    Ok(job.output.answer(answer, || format!("{} is {word}", job.place.path().display()))?)
}

fn make_words(job: &mut Job, check: bool, arg: &WordsArg, tell: &Tell) -> Result<(), Failure> {
    if check {
        let typed = arg.read()?.key()?.public_key();
        let known = job.place.shown()?.and_then(|shown| shown.recovery_key);
        if known != Some(typed) {
            return Err(Failure::differs("these are 24 recovery words, but not those of this instance"));
        }
        let answer = || json!({"recovery_key": typed});
        return Ok(job.output.answer(answer, || "These are the recovery words of this instance.".to_owned())?);
    }
    if arg.words_file.is_some() {
        return Err(Failure::new(Exit::Usage, "--words-file goes with --check: new words are made here"));
    }
    let passphrase = job.passphrase()?;
    let words = RecoveryWords::generate()?;
    let held = job.place.enroll(&job.change, &words.key()?, passphrase.as_ref())?;
    if !job.output.json() {
        show_words(&job.output, &words)?;
    }
    let told = job.tell(tell, &held.log);
    let answer = || json!({"words": text_of(&words), "recovery_key": held.recovery_key(), "told": told.as_ref().ok()});
    if job.output.json() {
        job.output.line(answer())?;
    }
    told.map(drop)
}
