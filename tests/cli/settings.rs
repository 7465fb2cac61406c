use crate::bed::Bed;
use std::os::unix::ffi::OsStrExt;

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    let bed = Bed::new();
    for args in [
        &["serv"][..],
        &["node", "shw"],
        &["pull"],
        &["discover", "--from", "not-an-address"],
        &["pull", "--from", "ftp://host"],
        &["serve", "--port", "70000"],
        &["manifest", "sign", "x", "--form", "xml"],
        &["manifest", "build", "--seq", "-1"],
        &["node", "list", "--unknown"],
        &["manifest", "publish", "--to", "http://127.0.0.1:1", "m.json", "--seq", "7"],
    ] {
        bed.run(args).fails(2);
    }
    assert!(!bed.run(&["discover", "--from", "http://user:hunter2@host"]).fails(2).contains("hunter2"));
    let help = bed.run(&["--help"]).ok();
    assert!(help.contains("Exit codes:") && help.contains("5    something differs"), "{help}");
    assert_eq!(bed.run(&["-V"]).ok(), format!("ark-lattice {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(bed.run(&[]).code, 2);
}

#[test]
fn bad_settings_are_named_by_every_command() {
    for (name, value, named) in [
        ("ARK__SERVER__WORKRES", "3", "workres"),
        ("FEDERATION_PORT", "abc", "port"),
        ("ARK_PEER_TTL", "", "ARK_PEER_TTL"),
        ("ARK_ADMIN_TOKEN", "short", "admin.token"),
        ("ARK_ENV", "nowhere", "nowhere.toml"),
    ] {
        let bed = Bed::new().set(name, value);
        for args in [&["config", "check"][..], &["serve"], &["node", "list"]] {
            let said = bed.run(args).fails(1);
            assert!(said.contains(named) && !said.contains("short"), "{name}: {said}");
        }
    }
    assert!(
        Bed::new()
            .set("ARK__LOG__LEVEL", "ark_lattice=loud")
            .run(&["serve", "--port", "0"])
            .fails(1)
            .contains("log.level")
    );
}

#[test]
fn settings_that_would_go_unnoticed_are_refused() {
    let refused = |bed: &Bed, named: &str| {
        for args in [&["config", "check"][..], &["serve"], &["node", "list"]] {
            let said = bed.run(args).fails(1);
            assert!(said.contains(named), "{args:?}: {said}");
        }
    };
    refused(&Bed::new().set("ARK_CONFIG_DIR", "confg"), "ARK_CONFIG_DIR is confg");
    let bed = Bed::new();
    std::fs::create_dir_all(bed.path("config/local.toml")).unwrap();
    refused(&bed, "config/local.toml");
    let bed = Bed::new();
    std::fs::create_dir_all(bed.path("config")).unwrap();
    std::os::unix::fs::symlink("nowhere", bed.path("config/local.toml")).unwrap();
    refused(&bed, "config/local.toml");
}

#[test]
fn nodes_and_state_in_one_directory_are_refused() {
    for state in ["one", "./one/", "link"] {
        let bed = Bed::new().set("LATTICE_PATH", "one").set("ARK_STATE_PATH", state);
        std::fs::create_dir(bed.path("one")).unwrap();
        std::os::unix::fs::symlink("one", bed.path("link")).unwrap();
        for args in [&["config", "check"][..], &["serve"], &["node", "list"]] {
            assert!(bed.run(args).fails(1).contains("one directory"), "{state} {args:?}");
        }
    }
    let said = Bed::new().run(&["init", "--yes", "--lattice", "one", "--state", "one"]);
    assert!(said.code != 0 && said.stderr.contains("one directory"), "{said:?}");
}

#[test]
fn further_ports_that_cannot_be_used_are_findings() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let bed = Bed::new().set("FEDERATION_PORT", "0").set("ARK__SERVER__ALSO_LISTEN", &format!("127.0.0.1:{port}"));
    let said = bed.run(&["doctor", "--json"]);
    assert!(said.code != 0 && said.stdout.contains("further_port_unusable"), "{said:?}");
    assert!(bed.run(&["serve"]).fails(1).contains("ARK__SERVER__ALSO_LISTEN"));
    let bed = Bed::new().set("FEDERATION_PORT", "0").set("ARK__SERVER__ALSO_LISTEN", "0.0.0.0:0");
    let said = bed.run(&["doctor"]).stdout;
    assert!(said.contains("0.0.0.0:0") && !said.contains("only programs on this machine"), "{said}");
}

#[test]
fn check_refuses_what_serve_refuses() {
    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    for (name, value, said) in [
        ("FEDERATION_HUB_URL", "hub.example", "FEDERATION_HUB_URL"),
        ("FEDERATION_TRUSTED_PEERS", "b.example", "FEDERATION_TRUSTED_PEERS"),
        ("FEDERATION_TRUSTED_PEERS", "alpha:8080", "FEDERATION_TRUSTED_PEERS"),
        ("FEDERATION_TRUSTED_PEERS", "https://a.example,ftp://x", "FEDERATION_TRUSTED_PEERS"),
        ("ARK__SERVER__HOST", "no such host", "no such host"),
        ("ARK__LOG__LEVEL", "ark_lattice=loud", "log.level"),
        ("ARK__TRUST__CA_FILE", "nowhere.pem", "nowhere.pem"),
        ("ARK_FED_PUBKEY", KEY, "ARK_FED_PUBKEY"),
        ("FEDERATION_MODE", "mesh", "FEDERATION_MODE"),
    ] {
        let bed = Bed::new().set("FEDERATION_PORT", "0").set(name, value);
        if name == "ARK_FED_PUBKEY" {
            bed.run(&["keygen", "--out", "ark_state/identity.key"]).ok();
        }
        let [check, serve] = [&["config", "check"][..], &["serve"]].map(|args| bed.run(args).fails(1));
        assert_eq!(check, serve, "{name}={value}");
        assert!(check.contains(said), "{name}={value}: {check}");
    }
}

#[test]
fn service_reads_what_init_wrote_and_names_the_files() {
    let bed = Bed::new();
    bed.run(&["init", "--port", "0", "--node-id", "ark-init"]).ok();
    bed.file("config/prod.toml", "[server]\nport = 1\n");
    let check = bed.run(&["config", "check", "--json"]).ok_json();
    assert_eq!(check["files"], serde_json::json!(["config/local.toml"]));
    assert!(check["warnings"][0].as_str().unwrap().contains("ARK_ENV=prod"), "{check}");
    assert_eq!(bed.run(&["config", "show", "--json"]).ok_json()["server"]["port"], 0);
}

#[test]
fn a_key_that_cannot_be_used_stops_the_service_and_is_not_repeated() {
    let bed = Bed::new().set("ARK_FED_PRIVKEY", "c2hvcnQ=");
    let said = bed.run(&["serve", "--port", "0"]).fails(1);
    assert!(said.contains("key") && !said.contains("c2hvcnQ="), "{said}");
    assert!(bed.run(&["config", "check"]).fails(1).contains("key"));
}

#[test]
fn settings_are_shown_without_secrets() {
    let bed = Bed::new()
        .set("ARK_ADMIN_TOKEN", "a-long-enough-token")
        .set("REDIS_URL", "redis://:hunter2@localhost")
        .set("FEDERATION_PORT", "9100");
    let text = bed.run(&["config", "show"]).ok();
    assert!(text.contains("port = 9100") && text.contains("token = \"(set)\""), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("long-enough"), "{text}");
    let json = bed.run(&["config", "show", "--json"]).ok_json();
    assert_eq!((&json["server"]["port"], &json["registry"]["redis_url"]), (&9100.into(), &"(set)".into()));
    assert!(bed.run(&["config", "check"]).ok().contains("ark-bed"));
    assert_eq!(bed.run(&["config", "check", "--json"]).ok_json()["ok"], true);
}

#[test]
fn a_key_is_made_once_and_private() {
    let bed = Bed::new();
    let public = bed.run(&["keygen", "--quiet"]).ok();
    assert_eq!(public.trim_end().len(), 44);
    let mode = |name: &str| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(bed.path(name)).unwrap().permissions()) & 0o777
    };
    assert_eq!((mode("ark_state"), mode("ark_state/identity.key")), (0o700, 0o600));
    let before = bed.read("ark_state/identity.key");
    assert!(bed.run(&["keygen"]).fails(1).contains("--out"));
    assert_eq!(bed.read("ark_state/identity.key"), before);
    assert!(bed.run(&["config", "check"]).ok().contains(public.trim_end()));

    let other = bed.run(&["keygen", "--out", "other.key", "--json"]).ok_json();
    assert_eq!(other["file"], "other.key");
    assert_ne!(other["public_key"], public.trim_end());
    bed.run(&["keygen", "--out", "lattice_data"]).fails(1);
}

#[test]
fn variables_that_are_no_text_matter_only_where_they_are_ours() {
    let bed = Bed::new();
    let show = |name: &str| {
        let bytes = std::ffi::OsStr::from_bytes(b"caf\xe9");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ark-lattice"));
        let output = command.args(["config", "show"]).current_dir(bed.path("")).env_clear().env(name, bytes).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(show("SOMEBODY_ELSES"), (Some(0), String::new()));
    for name in ["ARK_NODE_ID", "LATTICE_PATH", "ARK__LOG__LEVEL"] {
        let (code, said) = show(name);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(name) && said.contains("UTF-8") && said.trim_end().lines().count() == 1, "{said}");
    }
}
