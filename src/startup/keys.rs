//! The key of this instance, from the settings; and its changes while the service runs.

use super::StartupError;
use crate::{
    identity::{Held, KeyLog, KeyPair, KeyPlace, Keyring},
    ops::{self, Context},
    settings::Settings,
    telemetry::Metrics,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the key's files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often an old key is told of.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What is said of an instance that has a public key and no private one.
pub const REGISTRY_ONLY: &str = "ARK_FED_PUBKEY is set without its private key: this instance is a registry and exchanges with no \
    peer; set ARK_FED_PRIVKEY too, or unset ARK_FED_PUBKEY and restart the service, which makes a key then";

fn failed(error: &dyn std::fmt::Display) -> StartupError {
    StartupError::Key(error.to_string())
}

/// Where the key is kept; `None` where it came with the settings.
pub(super) fn place(settings: &Settings) -> Option<KeyPlace> {
    if settings.instance.private_key.is_some() {
        return None;
    }
    let default = || settings.state.path.join("identity.key");
    Some(KeyPlace::new(settings.instance.key_file.clone().unwrap_or_else(default)))
}

/// The key from the settings, the key file, or none.
pub(super) fn load(settings: &Settings) -> Result<Option<Held>, StartupError> {
    if let Some(text) = &settings.instance.private_key {
        let key = KeyPair::from_base64(text).map_err(|error| failed(&error))?;
        return Ok(Some(Held { key, log: KeyLog::default(), since: None }));
    }
    let Some(place) = place(settings) else { return Ok(None) };
    if settings.instance.key_file.is_some() && !place.exists() {
        return Err(failed(&format_args!("{}: no such file", place.path().display())));
    }
    let held = place.load(settings.instance.key_passphrase.as_ref()).map_err(|error| failed(&error))?;
    // Nothing else is opened for an instance that would come up as somebody else.
    if held.is_none()
        && settings.instance.public_key.is_none()
        && !place.log().map_err(|error| failed(&error))?.is_empty()
    {
        return Err(failed(&format_args!(
            "{} is gone, but {} speaks of it: restore it, or replace it with the recovery words: ark-lattice key recover",
            place.path().display(),
            place.statements().display()
        )));
    }
    Ok(held)
}

/// What the service signs with. Where there is no key one is made: an instance without a key can neither announce itself nor send what
/// it has. Not where a public key is stated: then the private one is somewhere else.
pub(super) fn ring(settings: &Settings, held: Option<Held>) -> Result<Option<Keyring>, StartupError> {
    let passphrase = settings.instance.key_passphrase.clone();
    let Some(place) = place(settings) else { return Ok(held.map(|held| Keyring::fixed(held.key))) };
    if let Some(held) = held {
        // What a killed process left half done. A key on a read-only disk has nothing of the kind.
        place.finish().map_err(|error| failed(&error))?;
        if held.is_revoked() {
            tracing::error!(public_key = %held.key.public_key(), "the key of this instance is revoked: replace it with the \
                recovery words (ark-lattice key recover); until then no peer exchanges with it");
        }
        return Ok(Some(Keyring::in_files(held, place, passphrase)));
    }
    if settings.instance.public_key.is_some() {
        tracing::warn!("{REGISTRY_ONLY}");
        return Ok(None);
    }
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    crate::identity::write_new_under(place.path(), &key, passphrase.as_ref()).map_err(|error| failed(&error))?;
    tracing::info!(path = %place.path().display(), public_key = %key.public_key(), "a key was made for this instance");
    let held = Held { key, log: KeyLog::default(), since: None };
    Ok(Some(Keyring::in_files(held, place, passphrase)))
}

/// Takes a new key when the files change, tells the peers of it, and warns of one that grows old.
pub(super) async fn watch(context: Arc<Context>, lifetime: Option<Duration>, metrics: Arc<Metrics>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned: Option<Instant> = None;
    let mut unreadable = false;
    let mut followed = None;
    let mut is_claimed = false;
    let Some(ring) = context.signer.clone() else {
        // The public key is stated, or there is none.
        while !ops::claim_own_id(&context).await {
            ticks.tick().await;
        }
        return;
    };
    loop {
        ticks.tick().await;
        let reloading = Arc::clone(&ring);
        // To decrypt a key takes its time.
        match tokio::task::spawn_blocking(move || reloading.reload()).await {
            Ok(Ok(true)) => {
                tracing::info!(public_key = %ring.public_key(), "the key of this instance changed; its peers are told");
                (warned, unreadable, is_claimed) = (None, false, false);
                if let Some(engine) = &context.engine {
                    engine.key_changed();
                }
            }
            Ok(Err(error)) if !unreadable => {
                unreadable = true;
                tracing::error!(%error, "the key's files changed and cannot be used; the key before holds on");
            }
            _ => {}
        }
        let held = ring.held();
        let tip = held.log.last().map(|last| last.digest());
        if followed != tip && ops::follow_own_statements(&context, &held.log).await {
            followed = tip;
        }
        // After the statements: they may lead from the key that the id is bound to.
        is_claimed = is_claimed || ops::claim_own_id(&context).await;
        let (Some(lifetime), Some(since)) = (lifetime, held.since) else { continue };
        let ends = since.plus(lifetime);
        metrics.key_ends(ends);
        let (age, due) = (context.clock.now().since(since), warned.is_none_or(|at| at.elapsed() > WARN_EVERY));
        if age > lifetime / 2 && due {
            warned = Some(Instant::now());
            let (ends, days) = (ends.to_rfc3339(), age.as_secs() / 86_400);
            if age > lifetime {
                tracing::error!(
                    key.age_days = days,
                    key.ended = ends,
                    "the key is older than instance.key_lifetime: ark-lattice key rotate"
                );
            } else {
                tracing::warn!(
                    key.age_days = days,
                    key.ends = ends,
                    "the key is past half of instance.key_lifetime: ark-lattice key rotate"
                );
            }
        }
    }
}
