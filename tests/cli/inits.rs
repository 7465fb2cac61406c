use crate::{bed::Bed, terminals::Terminal};
use serde_json::Value;
use std::{fs, io::Write, os::unix::fs::PermissionsExt};

fn mode(bed: &Bed, name: &str) -> u32 {
    fs::metadata(bed.path(name)).unwrap().permissions().mode() & 0o777
}

/// An empty folder: no lattice, no settings.
fn empty() -> Bed {
    let bed = Bed::new();
    fs::remove_dir(bed.path("lattice_data")).unwrap();
    bed
}

#[test]
fn what_is_set_up_starts_and_a_second_run_changes_nothing() {
    let bed = empty();
    let args =
        ["init", "--dir", "site", "--node-id", "ark-1", "--instance-type", "cloud", "--port", "0", "--admin-token"];
    let first = bed.run(&[&args[..], &["--json"]].concat()).ok_json();
    assert_eq!((&first["node_id"], first["found"].as_array().unwrap().len()), (&"ark-1".into(), 0), "{first}");
    let config = bed.read("site/config/local.toml");
    for line in ["[instance]\n", "node_id = \"ark-1\"\n", "instance_type = \"cloud\"\n", "[server]\n", "port = 0\n"] {
        assert!(config.contains(line), "{config}");
    }
    assert!(
        !config.contains("[lattice]") && config.lines().filter(|line| line.starts_with('#')).count() >= 5,
        "{config}"
    );
    let modes = ["config/local.toml", "ark_state", "ark_state/identity.key", "ark_state/admin.token"];
    assert_eq!(modes.map(|name| mode(&bed, &format!("site/{name}"))), [0o644, 0o700, 0o600, 0o600]);
    let token = bed.read("site/ark_state/admin.token");
    assert!(token.trim().len() >= 32 && !config.contains(token.trim()));

    let before = ["config/local.toml", "ark_state/identity.key", "ark_state/admin.token"]
        .map(|name| bed.read(&format!("site/{name}")));
    for args in [&args[..], &["init", "--dir", "site"], &["init", "--dir", "site", "--yes"]] {
        let again = bed.run(args).ok();
        assert!(again.contains("Nothing to do") && again.contains("exists  site/config/local.toml"), "{again}");
    }
    let after = ["config/local.toml", "ark_state/identity.key", "ark_state/admin.token"]
        .map(|name| bed.read(&format!("site/{name}")));
    assert_eq!(before, after);

    // As `next` says, from there.
    let line = first["next"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(line, ["cd site", "ark-lattice doctor", "ark-lattice serve"]);
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_ark-lattice"))
        .args(["config", "check", "--json"])
        .current_dir(bed.path("site"))
        .env_clear()
        .output()
        .unwrap();
    let check: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!((&check["node_id"], &check["public_key"]), (&"ark-1".into(), &first["public_key"]));
}

#[test]
fn nothing_is_guessed_without_a_terminal_and_nothing_bad_is_written() {
    let bed = empty();
    assert!(bed.run(&["init"]).fails(2).contains("--yes"));
    for (args, said) in [
        (&["init", "--node-id", "\u{1}"][..], "node_id"),
        (&["init", "--redis-url", "redis://:hunter2@h", "--env", "x", "--node-id", "\n"], "node_id"),
    ] {
        let said_so = bed.run(args).fails(1);
        assert!(said_so.contains(said) && !said_so.contains("hunter2"), "{said_so}");
    }
    bed.run(&["init", "--env", "default"]).fails(2);
    bed.run(&["init", "--env", "../x"]).fails(2);
    bed.run(&["init", "--instance-type", "moon"]).fails(2);
    assert_eq!(fs::read_dir(bed.path("")).unwrap().count(), 0);
    bed.run(&["init", "--yes", "--quiet"]).ok();
    assert!(!bed.read("config/local.toml").contains('='));
    assert!(bed.path("lattice_data").is_dir() && bed.path("ark_state/identity.key").is_file());
}

#[test]
fn what_exists_is_used_and_what_contradicts_it_is_said() {
    let bed = empty();
    fs::create_dir(bed.path("nodes")).unwrap();
    bed.run(&["keygen", "--out", "ark_state/identity.key"]).ok();
    let key = bed.read("ark_state/identity.key");
    let run =
        bed.run(&["init", "--lattice", "./nodes", "--redis-url", "redis://:hunter2@127.0.0.1:1", "--env", "prod"]);
    let said = run.ok();
    assert!(said.contains("exists  ./nodes") && said.contains("exists  ./ark_state/identity.key"), "{said}");
    assert!(!said.contains("hunter2") && bed.read("ark_state/identity.key") == key, "{said}");
    assert_eq!(mode(&bed, "config/prod.toml"), 0o600);
    for args in [&["--port", "9100"][..], &["--redis-url", "redis://other"], &["--admin-token"]] {
        let said = bed.run(&[&["init", "--env", "prod"], args].concat()).fails(1);
        assert!(said.contains("prod.toml") && !said.contains("hunter2"), "{said}");
    }
    bed.file("config/bad.toml", "[server]\nprot = 1\n");
    assert!(bed.run(&["init", "--env", "bad", "--yes"]).fails(1).contains("prot"));
    bed.file("plain", "");
    bed.run(&["init", "--env", "other", "--state", "plain"]).fails(1);
}

#[test]
fn a_person_is_asked() {
    let bed = empty();
    let mut terminal = Terminal::start(&bed, "ark-lattice init --port 9100", &[]);
    for (question, answer) in [
        ("Id of this instance in its manifests [", "ark-asked"),
        ("local, cloud or pi [local]: ", "moon"),
        ("local, cloud or pi [local]: ", "pi"),
        ("Address to listen on; 0.0.0.0 for other machines [127.0.0.1]: ", ""),
        ("Directory of nodes [./lattice_data]: ", "my nodes"),
        ("Directory of keys, journal and registry [./ark_state]: ", ""),
        ("the embedded one []: ", ""),
        ("(y/n) [n]: ", "n"),
    ] {
        terminal.until(question);
        writeln!(terminal.input(), "{answer}").unwrap();
    }
    let rest = terminal.rest();
    assert!(rest.contains("  ark-lattice serve"), "{rest:?}");
    let config: toml::Table = bed.read("config/local.toml").parse().unwrap();
    assert_eq!(config["instance"]["node_id"].as_str(), Some("ark-asked"));
    assert_eq!(
        (config["server"]["port"].as_integer(), config["lattice"]["path"].as_str()),
        (Some(9100), Some("my nodes"))
    );
    assert!(bed.path("my nodes").is_dir() && !bed.path("ark_state/admin.token").exists());
}
