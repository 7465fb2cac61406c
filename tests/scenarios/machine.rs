//! A machine of a scenario: a folder, the binary, and the cables that lead to it.

use crate::{
    service::{Place, Service, until},
    wire::Wire,
};
use serde_json::Value;
use std::{net::TcpListener, process::Output, time::Duration};

/// How long anything may take on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

pub struct Machine {
    pub place: Place,
    pub port: u16,
    service: Option<Service>,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Machine {
    /// With the seed's variables.
    pub fn new(name: &str, variables: &[(&str, &str)]) -> Self {
        let port = free_port();
        let place = Place::new().set("ARK_NODE_ID", name).set("FEDERATION_PORT", &port.to_string());
        // As the seeds did: whoever can be reached is believed.
        let place = place.set("ARK_TRUST_MODE", "open").set("ARK__LATTICE__WRITE_MANIFEST", "false");
        let place = variables.iter().fold(place, |place, (name, value)| place.set(name, value));
        Self { place, port, service: None }
    }

    pub async fn start(&mut self) {
        self.service = Some(self.place.serve_on(self.port).await);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.service.take().expect("it runs").kill();
    }

    pub fn service(&self) -> &Service {
        self.service.as_ref().expect("it runs")
    }

    /// A cable from somebody else to this machine.
    pub fn wire(&self) -> Wire {
        Wire::to(self.port)
    }

    /// `ark-lattice …` on this machine: what it prints, if it succeeds.
    pub async fn command(&self, arguments: &[&str]) -> String {
        let output = self.try_command(arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    pub async fn try_command(&self, arguments: &[&str]) -> Output {
        let mut command = self.place.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.command(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    pub async fn hash(&self) -> String {
        self.service().set_hash().await
    }

    pub async fn node(&self, id: &str) -> Option<Value> {
        let answer = self.service().get(&format!("/nodes/{id}")).await;
        if answer.status() == 404 { None } else { Some(crate::service::json_of(answer).await) }
    }
}

/// Waits until all hold the same; how long that took.
pub async fn until_equal(what: &str, machines: &[&Machine]) -> Duration {
    until(what, LONG, async || {
        let first = machines[0].hash().await;
        for machine in &machines[1..] {
            if machine.hash().await != first {
                return false;
            }
        }
        true
    })
    .await
}
