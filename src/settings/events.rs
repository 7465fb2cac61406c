//! Who is told of events.

use super::{Settings, SettingsError, load::bad, secret_file};
use crate::types::{EventKind, WebhookSecret};
use reqwest::Url;
use secrecy::ExposeSecret;

const SECRET_KEY: &str = "events.webhooks.secret";

/// A webhook whose every part can be used.
#[derive(Debug, Clone)]
pub struct CheckedWebhook {
    /// Where it takes events.
    pub url: Url,
    /// What they are signed with.
    pub secret: WebhookSecret,
    /// Of which; none: of all.
    pub kinds: Vec<EventKind>,
}

impl Settings {
    /// Puts the secrets of files where those of the settings are.
    pub(super) fn read_webhook_secrets(&mut self) -> Result<(), SettingsError> {
        for webhook in &mut self.events.webhooks {
            let Some(path) = &webhook.secret_file else { continue };
            if webhook.secret.is_some() {
                return Err(bad(
                    "events.webhooks.secret, events.webhooks.secret_file",
                    "both are set: unset one of them",
                ));
            }
            webhook.secret = Some(secret_file::read("events.webhooks.secret_file", path)?);
        }
        Ok(())
    }

    pub(super) fn check_events(&self) -> Result<(), SettingsError> {
        if self.events.webhook_timeout.get().is_zero() {
            return Err(bad("events.webhook_timeout", "must be more than zero"));
        }
        self.webhooks().map(drop)
    }

    /// Who is told of events.
    ///
    /// # Errors
    /// An address, a secret or an event's name cannot be used. Neither a secret nor an address is repeated: that is often one too.
    pub fn webhooks(&self) -> Result<Vec<CheckedWebhook>, SettingsError> {
        let checked = self.events.webhooks.iter().map(|webhook| {
            let url = Url::parse(&webhook.url)
                .map_err(|_| bad("events.webhooks.url", "is an address such as https://example.com/hook"))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(bad("events.webhooks.url", "begins with https:// or http://"));
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(bad("events.webhooks.url", "names a user; a webhook proves itself by its signature"));
            }
            let secret = webhook.secret.as_ref().ok_or_else(|| {
                bad(SECRET_KEY, "is needed, or secret_file; make one with: echo whsec_$(openssl rand -base64 32)")
            })?;
            let secret =
                WebhookSecret::parse(secret.expose_secret()).map_err(|error| bad(SECRET_KEY, error.to_string()))?;
            let kinds = webhook.types.iter().map(|name| EventKind::parse(name)).collect::<Result<_, _>>();
            let kinds = kinds.map_err(|error| bad("events.webhooks.types", error.to_string()))?;
            Ok(CheckedWebhook { url, secret, kinds })
        });
        checked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Write, path::Path};

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn write(path: &Path, text: &str) {
        File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn load(text: &str) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("test.toml"), text);
        Settings::from_layers(folder.path(), [("ARK_ENV".to_owned(), "test".to_owned())], Vec::new())
    }

    #[test]
    fn webhooks_are_read_with_their_secrets_which_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        write(&file, &format!("{SECRET}\n"));
        let settings = load(&format!(
            "[events]\nwebhooks = [{{ url = \"https://a.example/x\", secret_file = {file:?}, types = [\"sync-complete\"] }},\n\
             {{ url = \"http://10.0.0.1:8000\", secret = \"{SECRET}\" }}]\n"
        ))
        .unwrap();
        let webhooks = settings.webhooks().unwrap();
        assert_eq!(webhooks[0].kinds, [EventKind::SyncComplete]);
        assert!(webhooks.len() == 2 && webhooks[1].kinds.is_empty());
        assert_eq!(webhooks[0].secret.expose(), webhooks[1].secret.expose());
        for shown in [settings.show(), format!("{settings:?}"), format!("{webhooks:?}")] {
            assert!(shown.contains("10.0.0.1") && !shown.contains(&SECRET[6..]), "{shown}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_no_secret_repeated() {
        let secret = format!("secret = \"{SECRET}\"");
        let cases = [
            (format!("url = \"ftp://a\", {secret}"), "events.webhooks.url"),
            (format!("url = \"http://a:b@c\", {secret}"), "events.webhooks.url"),
            (format!("url = \"nowhere\", {secret}"), "events.webhooks.url"),
            (format!("url = \"http://a\", {secret}, types = [\"sync\"]"), "events.webhooks.types"),
            ("url = \"http://a\", secret = \"hidden\"".to_owned(), "events.webhooks.secret"),
            ("url = \"http://a\"".to_owned(), "events.webhooks.secret"),
            (format!("url = \"http://a\", {secret}, secret_file = \"x\""), "both are set"),
            ("url = \"http://a\", secret_file = \"/nowhere\"".to_owned(), "events.webhooks.secret_file"),
            (format!("url = \"http://a\", {secret}, kinds = []"), "kinds"),
        ];
        for (entry, expected) in cases {
            let error = load(&format!("[events]\nwebhooks = [{{ {entry} }}]\n")).unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains(&SECRET[6..]) && !error.contains("hidden"),
                "{entry}: {error}"
            );
        }
        assert!(load("[events]\nwebhook_timeout = \"0s\"\n").unwrap_err().to_string().contains("webhook_timeout"));
    }
}
