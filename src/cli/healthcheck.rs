//! `healthcheck`

use super::{exit::Failure, job, output::Output};
use crate::{
    ops::{Certificates, ClientError, Question, probe},
    settings::{ServerSettings, Settings},
};
use serde_json::json;
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
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let (url, certificates) = match &args.url {
        Some(url) => (url.clone(), Certificates::Verified),
        None => target(&Settings::load(Vec::new())?.server)?,
    };
    let question = if args.alive { Question::Alive } else { Question::Ready };
    let answer = job::wait(async { Ok::<_, Failure>(probe(&url, question, certificates, args.timeout).await) })?;
    let (asked, status) = answer.map_err(unhealthy)?;
    output.answer(
        || json!({"healthy": true, "status": status, "url": asked.as_str()}),
        || format!("{status}: {asked}"),
    )?;
    Ok(())
}

/// Container engines know 0 and 1, and reserve 2 for themselves: so all that is wrong is 1.
fn unhealthy(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused { code, detail, .. } | ClientError::Server { code, detail, .. } if !code.is_empty() => {
            Failure::local(format!("not healthy: {code}: {detail}"))
        }
        _ => Failure::local(format!("not healthy: {error}")),
    }
}

/// Where this machine's service answers.
fn target(server: &ServerSettings) -> Result<(String, Certificates), Failure> {
    if server.port == 0 {
        return Err(Failure::local("server.port is 0, which takes a free port: name the service with --url"));
    }
    let host = match server.host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() && ip.is_ipv4() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Ok(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Ok(ip) => ip,
        Err(_) => return Ok((format!("http://{}:{}", server.host, server.port), Certificates::Verified)),
    };
    Ok((format!("http://{}", SocketAddr::new(host, server.port)), Certificates::Verified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_of_this_machine_is_asked() {
        let url = |host: &str, port: u16| {
            let server = ServerSettings { host: host.to_owned(), port, ..ServerSettings::default() };
            target(&server).map(|(url, _)| url)
        };
        assert_eq!(url("0.0.0.0", 9001).unwrap(), "http://127.0.0.1:9001");
        assert_eq!(url("::", 80).unwrap(), "http://[::1]:80");
        assert_eq!(url("10.0.0.5", 80).unwrap(), "http://10.0.0.5:80");
        assert_eq!(url("localhost", 80).unwrap(), "http://localhost:80");
        assert!(url("127.0.0.1", 0).is_err());
    }
}
