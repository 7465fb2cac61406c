//! `healthcheck`

use super::{
    exit::{Exit, Failure},
    job::{self, CaFileArg},
    output::Output,
};
use crate::{
    ops::{Client, Probe},
    settings::{ServerSettings, Settings},
};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service to ask; otherwise the one of the settings, on this machine.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How long it may take to answer.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Ask only whether the process answers (/health), not whether it can work (/ready).
    #[arg(long)]
    alive: bool,
    #[command(flatten)]
    authorities: CaFileArg,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    // Container engines know 0 and 1, and reserve 2 for themselves: so whatever is wrong is 1.
    let (url, status) = ask(args).map_err(|failure| failure.exiting(Exit::Local).about("not healthy"))?;
    output.answer(|| json!({"healthy": true, "status": status, "url": url}), || format!("{status}: {url}"))?;
    Ok(())
}

fn ask(args: &Args) -> Result<(String, String), Failure> {
    let settings = Settings::load(Vec::new())?;
    let (url, client) = match &args.url {
        Some(url) => (url.clone(), args.authorities.client(&settings, url)?),
        None => own_service(&settings)?,
    };
    let path = if args.alive { "health" } else { "ready" };
    let answer = job::wait(async {
        let answer = tokio::time::timeout(args.timeout, client.probe(path)).await;
        answer.map_err(|_| Failure::local(format!("{url} does not answer within {:?}", args.timeout)))
    })?;
    let status = status(&answer?)?;
    Ok((format!("{}/{path}", url.trim_end_matches('/')), status))
}

/// This machine's service by the settings: its address, and a way to ask it.
pub(super) fn own_service(settings: &Settings) -> Result<(String, Client), Failure> {
    own_service_under(settings, "")
}

/// As [`own_service`], with what stands under this prefix.
pub(super) fn own_service_under(settings: &Settings, prefix: &str) -> Result<(String, Client), Failure> {
    let (mut url, loopback) = target(&settings.server)?;
    if !prefix.is_empty() {
        url = format!("{url}/{prefix}");
    }
    let client = client_at(settings, &url, loopback)?;
    Ok((url, client))
}

/// Asks the service at `url`; `loopback`: that is a loopback address.
pub(super) fn client_at(settings: &Settings, url: &str, loopback: bool) -> Result<Client, Failure> {
    let limits = settings.limits();
    // Nobody but this machine answers there: whose certificate it is does not matter.
    let client = match loopback {
        true => Client::unverified(job::shown_certificate(settings)?.as_deref(), url, &limits)?,
        false => Client::new(url, &limits)?,
    };
    Ok(client.with_membership(job::membership(settings)))
}

/// What a service that is well says of itself.
fn status(answer: &Probe) -> Result<String, Failure> {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match (answer.status, text("status"), text("code")) {
        (200, Some(status), _) => Ok(status.to_owned()),
        (_, _, Some(code)) => Err(Failure::local(format!("{code}: {}", text("detail").unwrap_or("no reason")))),
        (status, ..) => Err(Failure::local(format!("the answer ({status}) is not that of an ark-lattice service"))),
    }
}

/// Where this machine's service answers, and whether that is a loopback address.
fn target(server: &ServerSettings) -> Result<(String, bool), Failure> {
    if server.port == 0 {
        return Err(Failure::local("server.port is 0, which takes a free port: name the service with --url"));
    }
    let scheme = if server.tls_certificate.is_some() { "https" } else { "http" };
    let host = match server.host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() && ip.is_ipv4() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Ok(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Ok(ip) => ip,
        Err(_) => return Ok((format!("{scheme}://{}:{}", server.host, server.port), false)),
    };
    Ok((format!("{scheme}://{}", SocketAddr::new(host, server.port)), host.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_of_this_machine_is_asked() {
        let asked = |host: &str, port: u16, tls: bool| {
            let tls_certificate = tls.then(|| "fullchain.pem".into());
            target(&ServerSettings { host: host.to_owned(), port, tls_certificate, ..ServerSettings::default() }).ok()
        };
        let found = |url: &str, loopback: bool| Some((url.to_owned(), loopback));
        assert_eq!(asked("0.0.0.0", 9001, false), found("http://127.0.0.1:9001", true));
        assert_eq!(asked("::", 80, false), found("http://[::1]:80", true));
        assert_eq!(asked("127.0.0.2", 443, true), found("https://127.0.0.2:443", true));
        // There a certificate is checked: other machines may answer at such an address.
        assert_eq!(asked("10.0.0.5", 443, true), found("https://10.0.0.5:443", false));
        assert_eq!(asked("localhost", 80, false), found("http://localhost:80", false));
        assert_eq!(asked("127.0.0.1", 0, false), None);
    }
}
