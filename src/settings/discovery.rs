//! Where other instances may be looked for.

use super::{FederationMode, Settings, SettingsError, load::bad};
use crate::types::ScanSubnets;
use std::{net::IpAddr, time::Duration};

/// Searching costs every machine of the network something.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);
/// The longest name that an interface has (Linux: IFNAMSIZ).
const MAX_INTERFACE_BYTES: usize = 15;

impl Settings {
    /// Whether multicast DNS is on.
    #[must_use]
    pub fn mdns(&self) -> bool {
        self.discovery.mdns || !self.discovery.interfaces.is_empty()
    }

    /// Which addresses may be asked whether an instance is there.
    ///
    /// # Errors
    /// An entry is no private network, or they are too large.
    pub fn scan_subnets(&self) -> Result<ScanSubnets, SettingsError> {
        ScanSubnets::parse(self.discovery.scan_subnets.iter().map(String::as_str))
            .map_err(|error| bad("discovery.scan_subnets", error.to_string()))
    }

    pub(super) fn check_discovery(&mut self) -> Result<(), SettingsError> {
        let searched = self.mdns() || !self.scan_subnets()?.is_empty();
        let named = |name: &String| {
            let plain = !name.chars().any(|it| it.is_control() || it.is_whitespace() || it == '/');
            plain && (1..=MAX_INTERFACE_BYTES).contains(&name.len())
        };
        if let Some(name) = self.discovery.interfaces.iter().find(|name| !named(name)) {
            return Err(bad("discovery.interfaces", format!("{name:?} is no name of an interface, such as eth0")));
        }
        if searched && self.federation.discovery_interval.get() < SHORTEST_INTERVAL {
            return Err(bad("federation.discovery_interval", "must be at least 10s"));
        }
        let section = &self.federation;
        if self.discovery.accept && section.mode == FederationMode::Hub && section.hub_url.is_some() {
            let why = "is set, but with federation.mode hub and a hub_url this instance exchanges with the hub only";
            return Err(bad("discovery.accept", why));
        }
        let here_only = self.server.host == "localhost"
            || self.server.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let loopback = |name: &String| name == "lo" || name == "lo0";
        if self.mdns() && here_only && !self.discovery.interfaces.iter().any(loopback) {
            let warning = "multicast DNS is on, but server.host is this machine's loopback address: nobody on the network can be told of us";
            self.warnings.push(warning.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_layers(folder.path(), variables, Vec::new())
    }

    #[test]
    fn discovery_is_off_until_somebody_turns_it_on() {
        let settings = load(&[]).unwrap();
        assert!(!settings.mdns() && settings.scan_subnets().unwrap().is_empty() && !settings.discovery.accept);
        assert!(load(&[("ARK__DISCOVERY__MDNS", "true")]).unwrap().mdns());
        let settings = load(&[
            ("ARK__DISCOVERY__INTERFACES", "eth0, wlan0"),
            ("ARK__DISCOVERY__SCAN_SUBNETS", "192.168.1.0/24,10.0.0.7"),
            ("ARK__SERVER__HOST", "0.0.0.0"),
        ]);
        let settings = settings.unwrap();
        assert!(settings.mdns());
        assert_eq!(settings.discovery.interfaces, ["eth0", "wlan0"]);
        assert_eq!(settings.scan_subnets().unwrap().addresses().count(), 255);
        assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
    }

    #[test]
    fn what_cannot_be_meant_names_its_key() {
        const MDNS: (&str, &str) = ("ARK__DISCOVERY__MDNS", "true");
        const ACCEPT: (&str, &str) = ("ARK__DISCOVERY__ACCEPT", "true");
        for (variables, key) in [
            (
                &[("ARK__DISCOVERY__SCAN_SUBNETS", "8.8.8.0/24")][..],
                "discovery.scan_subnets: 8.8.8.0/24 is not private",
            ),
            (&[("ARK__DISCOVERY__SCAN_SUBNETS", "10.0.0.0/8")], "discovery.scan_subnets: more than 4096"),
            (&[("ARK__DISCOVERY__INTERFACES", "eth0/../x")], "discovery.interfaces"),
            (&[("ARK__DISCOVERY__INTERFACES", "a-name-that-is-too-long")], "discovery.interfaces"),
            (&[MDNS, ("FEDERATION_DISCOVERY_INTERVAL", "1")], "federation.discovery_interval"),
            (&[ACCEPT, ("FEDERATION_MODE", "hub"), ("FEDERATION_HUB_URL", "http://hub:1")], "discovery.accept"),
        ] {
            let error = load(variables).unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
        let warnings = load(&[MDNS]).unwrap().warnings;
        assert!(warnings.iter().any(|it| it.contains("server.host")), "{warnings:?}");
    }
}
