//! What stands between the service and its clients: proxies, prefixes.

use super::{Settings, SettingsError, load::bad};
use crate::types::{BasePath, ProxyNetworks};

impl Settings {
    /// The prefix under which requests come in.
    ///
    /// # Errors
    /// It is not one.
    pub fn base_path(&self) -> Result<BasePath, SettingsError> {
        BasePath::parse(&self.server.base_path).map_err(|error| bad("server.base_path", error.to_string()))
    }

    /// Who is believed when he says for whom he asks.
    ///
    /// # Errors
    /// An entry is neither an address nor a network.
    pub fn proxy_networks(&self) -> Result<ProxyNetworks, SettingsError> {
        let texts = self.server.trusted_proxies.iter().map(String::as_str);
        ProxyNetworks::parse(texts).map_err(|entry| {
            let what = "is neither an address such as 192.0.2.7 nor a network such as 10.0.0.0/8";
            bad("server.trusted_proxies", format!("{entry:?} {what}"))
        })
    }

    pub(super) fn check_edge(&mut self) -> Result<(), SettingsError> {
        self.base_path()?;
        if self.proxy_networks()?.trusts_everybody() {
            let warning = "server.trusted_proxies holds every address: any client may say that it is another";
            self.warnings.push(warning.to_owned());
        }
        Ok(())
    }
}
