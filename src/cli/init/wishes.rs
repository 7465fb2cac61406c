//! What the operator wants to be otherwise than by default.

use crate::settings::{Settings, id_prefix};
use secrecy::ExposeSecret;

#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Wishes {
    /// The instance's id in its manifests; otherwise ark-, the machine's name and a random part.
    #[arg(long, value_name = "ID")]
    pub(super) node_id: Option<String>,
    /// Where it runs.
    #[arg(long, value_name = "TYPE", value_parser = ["local", "cloud", "pi"])]
    pub(super) instance_type: Option<String>,
    /// Address to listen on; 0.0.0.0 takes requests from other machines.
    #[arg(long)]
    pub(super) host: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// The registry that several services share; otherwise the embedded one.
    #[arg(long, value_name = "URL")]
    pub(super) redis_url: Option<String>,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    pub(super) lattice: Option<String>,
    /// Keys, journal and embedded registry.
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<String>,
    /// Make an operator's token, with which nodes are changed over HTTP: the file admin.token in the state directory.
    #[arg(long)]
    pub(super) admin_token: bool,
}

/// A setting that is wished for.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) key: &'static str,
    /// As text, and as TOML writes it.
    pub(super) value: String,
    pub(super) toml: String,
    pub(super) comment: &'static str,
}

impl Wishes {
    pub(super) fn are_none(&self) -> bool {
        !self.admin_token && self.list("").is_empty()
    }

    /// One by one, in the order of the settings' sections. `token_file`: where the operator's token is.
    pub(super) fn list(&self, token_file: &str) -> Vec<Wish> {
        let text = |key, value: &Option<String>, comment| {
            value.clone().map(|value| Wish { key, toml: toml::Value::from(value.as_str()).to_string(), value, comment })
        };
        let port = self.port.map(|port| port.to_string());
        let token_file = self.admin_token.then(|| token_file.to_owned());
        [
            text("instance.node_id", &self.node_id, "Id of this instance in its manifests."),
            text("instance.instance_type", &self.instance_type, "local, cloud or pi."),
            text("server.host", &self.host, "Address to listen on; 0.0.0.0 takes requests from other machines."),
            port.map(|port| Wish {
                key: "server.port",
                toml: port.clone(),
                value: port,
                comment: "Port to listen on.",
            }),
            text("admin.token_file", &token_file, "File with the operator's token, for PUT and DELETE on nodes."),
            text("registry.redis_url", &self.redis_url, "The registry of live peers, shared by several services."),
            text("lattice.path", &self.lattice, "The directory of nodes."),
            text("state.path", &self.state, "Keys, journal and embedded registry."),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The value that holds.
pub(super) fn value_of(settings: &Settings, key: &str) -> Option<String> {
    let path = |path: &std::path::Path| path.to_str().map(str::to_owned);
    match key {
        "instance.node_id" if settings.has_no_id_yet().unwrap_or(false) => Some(format!("{}…", id_prefix())),
        "instance.node_id" => settings.node_id().ok().map(|id| id.to_string()),
        "instance.instance_type" => Some(settings.instance.instance_type.as_str().to_owned()),
        "server.host" => Some(settings.server.host.clone()),
        "server.port" => Some(settings.server.port.to_string()),
        "admin.token_file" => settings.admin.token_file.as_deref().and_then(path),
        "registry.redis_url" => settings.registry.redis_url.as_ref().map(|url| url.expose_secret().to_owned()),
        "lattice.path" => path(&settings.lattice.path),
        "state.path" => path(&settings.state.path),
        _ => None,
    }
}
