//! `doctor`: what is wrong with this installation, and what to type next.

mod finding;
mod machine;
mod remote;
mod service;

use super::{
    exit::Failure,
    job,
    output::{Output, count},
};
use crate::{
    settings::{Overrides, Settings},
    types::SystemClock,
};
use finding::{Findings, Grade};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at the settings, the key, the audit log, both directories, the room on their disks, the clock, Redis, and the port. Where the
service of the state directory runs, also at its peers, deletions that wait, conflicts, and instances that ask to write. With --url
also at the way through the proxy. Changes nothing. Exits with 0 if nothing has failed, with 1 otherwise; warnings do not count.

Examples:
  ark-lattice doctor --url https://ark.example
  ark-lattice doctor --json | jq -r '.findings[] | select(.grade != \"ok\") | .code'

With --json; grade is ok, warn or fail, code is stable, and next is null where there is nothing to do:
  {\"ok\": true, \"failed\": 0, \"warned\": 1, \"findings\": [{\"check\": \"auto-sync\", \"code\": \"auto_sync_off\", \"grade\": \"warn\",
   \"found\": \"nothing is exchanged automatically with 1 peer\", \"next\": \"ark-lattice federation auto-sync --start\"}]}")]
pub(super) struct Args {
    /// The address by which others reach this service, through the proxy.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let findings = examine(args)?;
    let (failed, warned) = (findings.graded(Grade::Fail), findings.graded(Grade::Warn));
    if output.json() {
        let list: Vec<Value> = findings.0.iter().map(finding::Finding::as_json).collect();
        output.line(json!({"ok": failed == 0, "failed": failed, "warned": warned, "findings": list}))?;
    } else {
        for finding in &findings.0 {
            output.finding(finding.grade.word(), finding.check, &finding.found, finding.next.as_deref())?;
        }
    }
    if failed > 0 {
        return Err(Failure::local(format!("{} failed; what to do stands below each", count(failed, "check"))));
    }
    output.remark(match warned {
        0 => "All is well.".to_owned(),
        _ => format!("Nothing has failed; {}.", count(warned, "warning")),
    });
    Ok(())
}

fn examine(args: &Args) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    let settings = match Settings::load(Overrides::new()) {
        Ok(settings) => settings,
        Err(error) => {
            findings.fail(
                ("settings", "settings_unusable"),
                error,
                "correct that setting; all of them: config/default.toml",
            );
            return Ok(findings);
        }
    };
    findings.ok("settings", "they can be read");
    for warning in &settings.warnings {
        findings.warn(("settings", "settings_warning"), warning, "ark-lattice config show");
    }
    let now = SystemClock::shared().now();
    machine::identity(&settings, &mut findings);
    machine::plain_http(&settings, &mut findings);
    machine::state(&settings, &mut findings);
    machine::audit(&settings, &mut findings);
    machine::marker(&settings, &mut findings);
    machine::one_service(&settings, &mut findings);
    machine::lattice(&settings, now, &mut findings);
    machine::mode(&settings, &mut findings);
    machine::clock(now, &mut findings);
    machine::certificate(&settings, now, &mut findings);
    machine::descriptors(&settings, &mut findings);
    job::wait(remote::look(&settings, args.url.as_deref(), &mut findings))?;
    Ok(findings)
}
