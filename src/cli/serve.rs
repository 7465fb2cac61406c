//! `serve`

use super::{
    exit::{Exit, Failure},
    job::set_path,
    key::unlock,
    output::Output,
};
use crate::{
    ops::LOCAL_TOKEN_FILE,
    settings::{LOG_LEVELS, LogFormat, Overrides, Settings},
    startup::{self, StopSignal},
    telemetry,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// What the log still holds is waited for so long at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs until Ctrl-C or SIGTERM, serves for server.drain_delay more while /ready
answers 503, lets open requests come to their end, and exits with 0. A second
signal ends it at once. All settings: ark-lattice config show

Examples:
  ark-lattice serve
  ark-lattice serve --host 0.0.0.0 --port 9001 --lattice /srv/nodes --state /var/lib/ark

With --json, once it listens:
  {\"url\": \"http://127.0.0.1:9001\", \"port\": 9001}")]
pub(super) struct Args {
    /// Address to listen on; 0.0.0.0 takes requests from other machines.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on; 0 takes a free one.
    #[arg(long)]
    port: Option<u16>,
    /// The data directory (LATTICE_PATH).
    #[arg(long, value_name = "DIR")]
    lattice: Option<PathBuf>,
    /// Keys, journal and embedded registry (ARK_STATE_PATH).
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Args {
    fn settings(self) -> Result<Settings, Failure> {
        let mut overrides = Overrides::new();
        overrides.extend(self.host.map(|host| ("server.host", host)));
        overrides.extend(self.port.map(|port| ("server.port", port.to_string())));
        set_path(&mut overrides, "lattice.path", self.lattice.as_deref())?;
        set_path(&mut overrides, "state.path", self.state.as_deref())?;
        Ok(Settings::load(overrides)?)
    }
}

pub(super) fn run(args: Args, output: &Output) -> Result<(), Failure> {
    let mut settings = args.settings()?;
    unlock(&mut settings)?;
    let json = settings.log.format == LogFormat::Json;
    telemetry::start_logging(&settings.log.level, json)
        .map_err(|_| Failure::local(format!("settings: log.level: {LOG_LEVELS}")))?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(note) = &settings.memory_note {
        tracing::info!("{note}");
    }
    allow_descriptors();
    let ended = serve(&settings, output.or_json(json));
    telemetry::flush_logging(LAST_LINES);
    // Nor does the end wait for a reader.
    if telemetry::takes_text(&std::io::stderr()) { ended } else { ended.map_err(Failure::unsaid) }
}

fn serve(settings: &Settings, output: Output) -> Result<(), Failure> {
    let cut_short = startup::run(settings, |address| {
        tracing::info!(files = settings.files_text(), "settings were read");
        if let Some(reach) = reach(address) {
            tracing::info!(%address, "{reach}");
        }
        greet(settings, address, output);
    })?;
    match cut_short {
        None => Ok(()),
        Some(signal) => {
            let exit = match signal {
                StopSignal::Interrupt => Exit::Interrupted,
                StopSignal::Terminate => Exit::Terminated,
            };
            Err(Failure::new(exit, "ended at once by a second signal; requests under way were cut off"))
        }
    }
}

/// Takes all the descriptors that the system lets it have: the usual 1024 are for programs that cannot do with more.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, ..limit };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// A service without a reader of its greeting serves all the same. Beside lines of JSON it is one more of them.
fn greet(settings: &Settings, address: SocketAddr, output: Output) {
    let say = {
        let settings = settings.clone();
        move || drop(announce(&settings, address, &output))
    };
    if telemetry::takes_text(&std::io::stdout()) {
        say();
    } else if let Err(error) = std::thread::Builder::new().name("greeting".to_owned()).spawn(say) {
        tracing::warn!(%error, "the greeting cannot be written");
    }
}

fn announce(settings: &Settings, address: SocketAddr, output: &Output) -> std::io::Result<()> {
    let url = format!(
        "{}{}",
        startup::local_url(address, settings.server.tls_certificate.is_some()),
        settings.server.base_path
    );
    output.answer(|| json!({"url": url, "port": address.port()}), || greeting(settings, address, &url))
}

/// A path as one word of a shell's command.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(is_plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// What can reach the address, where that is only this machine.
fn reach(address: SocketAddr) -> Option<&'static str> {
    address
        .ip()
        .is_loopback()
        .then_some("only programs on this machine reach it; for other machines: ARK__SERVER__HOST=0.0.0.0, or a proxy")
}

fn greeting(settings: &Settings, address: SocketAddr, url: &str) -> String {
    let reach = reach(address).map(|reach| format!("\x20 reach     {reach}\n")).unwrap_or_default();
    let registry = if settings.registry.uses_redis() {
        "Redis".to_owned()
    } else {
        format!("embedded, in {}", settings.state.path.display())
    };
    format!(
        "ark-lattice {version} listens on {url}\n{reach}\
         \x20 lattice   {lattice} (its nodes are being counted)\n\
         \x20 registry  {registry}\n\
         \x20 trust     {mode}: {allows}\n\
         Try:\n\
         \x20 curl {url}/health\n\
         \x20 curl {url}/discover\n\
         \x20 curl '{url}/nodes?limit=3'\n\
         \x20 curl -H 'Content-Type: application/json' -d '{{\"nodes\":[],\"limit\":1}}' {url}/sync\n\
         Administrative requests need a token, also on this machine; the commands of ark-lattice read it themselves:\n\
         \x20 ark-lattice federation status\n\
         \x20 curl -H \"Authorization: Bearer $(cat {token})\" {url}/api/federation/status\n\
         or open {url}/docs/ in a browser. Ctrl-C stops it.",
        token = shell_word(&settings.state.path.join(LOCAL_TOKEN_FILE)),
        version = env!("CARGO_PKG_VERSION"),
        lattice = settings.lattice.path.display(),
        mode = settings.trust.mode.as_str(),
        allows = settings.trust_rules().summary(),
    )
}
