use super::*;
use crate::settings::PrivatePeers;
use secrecy::ExposeSecret;
use serde::Deserialize;

fn load(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    load_in(folder.path(), variables)
}

fn load_in(folder: &Path, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_layers(folder, variables, Vec::new())
}

fn error(variables: &[(&str, &str)]) -> String {
    load(variables).unwrap_err().to_string()
}

#[test]
fn peers_need_no_new_connection_for_each_round() {
    let settings = load(&[]).unwrap();
    assert!(settings.server.keep_alive.get() > settings.federation.sync_interval.get());
}

#[test]
fn private_peers_are_a_word_or_a_flag() {
    let read = |value: toml::Value| PrivatePeers::deserialize(value);
    for (value, meant) in [
        ("auto".into(), PrivatePeers::Auto),
        (true.into(), PrivatePeers::All),
        (false.into(), PrivatePeers::Listed),
        ("false".into(), PrivatePeers::Listed),
    ] {
        assert_eq!(read(value).unwrap(), meant);
    }
    let error = read("lan".into()).unwrap_err().to_string();
    assert!(error.contains("\"auto\", true or false"), "{error}");
    assert_eq!(load(&[]).unwrap().federation.private_peers, PrivatePeers::Auto);
    let set = load(&[("ARK__FEDERATION__PRIVATE_PEERS", "true")]).unwrap();
    assert_eq!(set.federation.private_peers, PrivatePeers::All);
    assert!(Settings::default_toml().contains("\nprivate_peers = \"auto\"\n"));
}

#[test]
fn the_default_file_is_the_one_that_the_types_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml");
    let made = Settings::default_toml();
    if DEFAULTS != made {
        let fresh = path.with_extension("toml.new");
        std::io::Write::write_all(&mut std::fs::File::create(&fresh).unwrap(), made.as_bytes()).unwrap();
        panic!("config/default.toml is not what the types make; compare it with {}", fresh.display());
    }
}

#[test]
fn without_any_variable_the_defaults_hold() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.server.port, 9001);
    assert!(settings.registry.redis_url.is_none());
    assert_eq!(settings.registry.peer_ttl, crate::settings::Span::seconds(120));
    assert!(settings.node_id().unwrap().as_str().starts_with("ark-"));
}

#[test]
fn the_seeds_names_work_as_their_documents_write_them() {
    let settings = load(&[
        ("ARK_NODE_ID", "ark-node-local"),
        ("REDIS_URL", "redis://localhost:6379/0"),
        ("LATTICE_PATH", "./elsewhere"),
        ("FEDERATION_PORT", "9100"),
        ("FEDERATION_SYNC_INTERVAL", "60000"),
        ("FEDERATION_DISCOVERY_INTERVAL", "300"),
        ("FEDERATION_NETWORK_KEY", ""),
        ("FEDERATION_TRUSTED_PEERS", "http://a:1, http://b:2"),
        ("FEDERATION_MODE", "hub"),
        ("FEDERATION_AUTO_SYNC", "true"),
        ("ARK_PEER_TTL", "5m"),
    ])
    .unwrap();
    assert_eq!(settings.node_id().unwrap().as_str(), "ark-node-local");
    assert_eq!(settings.server.port, 9100);
    assert_eq!(settings.federation.sync_interval, crate::settings::Span::seconds(60));
    assert_eq!(settings.federation.trusted_peers, ["http://a:1", "http://b:2"]);
    assert_eq!(settings.registry.peer_ttl, crate::settings::Span::seconds(300));
    assert_eq!(settings.registry.redis_url.unwrap().expose_secret(), "redis://localhost:6379/0");
    assert_eq!(
        load(&[("FEDERATION_SYNC_INTERVAL", "60")]).unwrap().federation.sync_interval,
        crate::settings::Span::seconds(60)
    );
}

#[test]
fn every_key_is_reachable_and_an_unknown_one_refuses_to_start() {
    assert_eq!(load(&[("ARK__SERVER__WORKERS", "3")]).unwrap().server.workers, 3);
    assert!(error(&[("ARK__SERVER__WORKRES", "3")]).contains("workres"));
    assert!(error(&[("ARK__NOWHERE__X", "3")]).contains("nowhere"));
}

#[test]
fn bad_values_name_their_key() {
    for (name, value, expected) in [
        ("FEDERATION_PORT", "70000", "port"),
        ("FEDERATION_PORT", "abc", "port"),
        ("ARK_PEER_TTL", "120", "peer_ttl"),
        ("ARK_PEER_TTL", "0s", "peer_ttl"),
        ("ARK_TRUST_MODE", "yes", "mode"),
        ("ARK_INSTANCE_TYPE", "toaster", "instance_type"),
        ("ARK_NODE_ID", "a\u{7}b", "node_id"),
        ("ARK_FED_PUBKEY", "abc", "public_key"),
        ("ARK__SERVER__HEADER_TIMEOUT", "0s", "header_timeout"),
        ("ARK__SERVER__BODY_TIMEOUT", "0s", "body_timeout"),
        ("ARK__SERVER__MAX_CONNECTIONS", "0", "max_connections"),
        ("ARK__SERVER__SHUTDOWN_TIMEOUT", "900ms", "shutdown_timeout"),
        ("ARK_PEER_TTL", "300years", "peer_ttl"),
        ("ARK__REGISTRY__UNUSED_BINDING_TTL", "1h", "unused_binding_ttl"),
        ("ARK__REGISTRY__UNUSED_BINDING_TTL", "900years", "unused_binding_ttl"),
        ("ARK_ADMIN_TOKEN", "short", "admin.token"),
        ("ARK__LOG__LEVEL", "loud", "log.level"),
        ("ARK_ADMIN_TOKEN", "short             ", "admin.token"),
        ("ARK_ADMIN_TOKEN", "ein-sehr-langer-schlüssel", "admin.token"),
        ("ARK__SERVER__BASE_PATH", "ark", "server.base_path: begins with a slash"),
        ("ARK__SERVER__BASE_PATH", "/ark/", "server.base_path: ends without a slash"),
        ("ARK__SERVER__BASE_PATH", "/a rk", "server.base_path"),
        ("ARK__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,nginx", "server.trusted_proxies: \"nginx\""),
        ("ARK__SERVER__ALSO_LISTEN", "9000,http", "server.also_listen: \"http\" is neither a port"),
        ("ARK__SERVER__ALSO_LISTEN", "::1:9000", "server.also_listen"),
        ("ARK__SERVER__ALSO_LISTEN", "9001", "server.also_listen: \"9001\" is listened on already"),
        ("ARK__SERVER__PROXY_HEADERS", "both", "proxy_headers"),
        ("ARK__SERVER__TLS_CERTIFICATE", "a.pem", "server.tls_certificate: is set, but server.tls_key is not"),
        ("ARK__SERVER__TLS_KEY", "a.pem", "server.tls_key: is set, but server.tls_certificate is not"),
        ("ARK__SERVER__CORS_ORIGINS", "https://a.example/", "server.cors_origins: \"https://a.example/\""),
        ("ARK__SERVER__CORS_ORIGINS", "https://a.example, *", "server.cors_origins: \"*\""),
        ("ARK__SERVER__WRITE_TIMEOUT", "0s", "server.write_timeout"),
        ("ARK__SERVER__WRITE_TIMEOUT", "60days", "server.write_timeout"),
        ("ARK__SERVER__TLS_RELOAD_INTERVAL", "0s", "server.tls_reload_interval"),
    ] {
        let text = error(&[(name, value)]);
        assert!(text.contains(expected), "{name}={value}: {text}");
    }
}

#[test]
fn empty_values_are_errors_and_secrets_are_never_repeated() {
    assert!(error(&[("ARK_ADMIN_TOKEN", "")]).contains("ARK_ADMIN_TOKEN is empty"));
    assert!(error(&[("REDIS_URL", " ")]).contains("REDIS_URL is empty"));
    assert!(!error(&[("ARK_ADMIN_TOKEN", "hunter2")]).contains("hunter2"));
    let settings = load(&[("ARK_ADMIN_TOKEN", "a-long-enough-token")]).unwrap();
    assert!(!format!("{settings:?}").contains("a-long-enough-token"));
}

#[test]
fn the_operators_token_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let name = path.to_str().unwrap();
    let write = |text: &str| std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes());
    assert!(error(&[("ARK_ADMIN_TOKEN_FILE", name)]).contains("admin.token_file"), "there is no such file");
    write("a-long-enough-token\n").unwrap();
    let settings = load(&[("ARK_ADMIN_TOKEN_FILE", name)]).unwrap();
    assert_eq!(settings.admin.token.as_ref().unwrap().expose_secret(), "a-long-enough-token");
    let shown: toml::Table = settings.show().parse().unwrap();
    assert_eq!((shown["admin"]["token"].as_str(), shown["admin"]["token_file"].as_str()), (Some("(set)"), Some(name)));
    let both = [("ARK_ADMIN_TOKEN_FILE", name), ("ARK_ADMIN_TOKEN", "a-long-enough-token")];
    assert!(error(&both).contains("admin.token, admin.token_file"));
    for (text, expected) in
        [("", "is empty"), (" \n", "is empty"), ("short", "16 characters"), (&*"x".repeat(4097), "4096")]
    {
        write(text).unwrap();
        let said = error(&[("ARK_ADMIN_TOKEN_FILE", name)]);
        assert!(said.contains("admin.token") && said.contains(expected), "{said}");
    }
}

#[test]
fn two_variables_for_one_key_must_agree() {
    assert!(error(&[("FEDERATION_PORT", "1"), ("FEDERATION_BIND_PORT", "2")]).contains("FEDERATION_BIND_PORT"));
    assert!(load(&[("FEDERATION_PORT", "1"), ("FEDERATION_BIND_PORT", "1")]).is_ok());
}

#[test]
fn the_environments_file_lies_between_defaults_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("cloud.toml")).unwrap();
    let text = "[server]\nport = 1234\nworkers = 2\n[trust]\nmode = \"allowlist\"\nlisted = [{ node_id = \"Ark-1\", \
                pubkey = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\" }]\n";
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    let settings = load_in(folder.path(), &[("ARK_ENV", "cloud"), ("FEDERATION_PORT", "99")]).unwrap();
    assert_eq!((settings.server.port, settings.server.workers), (99, 2));
    assert_eq!(settings.trust.listed[0].node_id, "Ark-1");
    assert!(load_in(folder.path(), &[("ARK_ENV", "nowhere")]).unwrap_err().to_string().contains("nowhere.toml"));
    assert!(load_in(folder.path(), &[("ARK_ENV", "../cloud")]).is_err());
}

#[test]
fn local_file_is_read_without_being_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        std::io::Write::write_all(&mut std::fs::File::create(folder.path().join(name)).unwrap(), text.as_bytes())
    };
    write("local.toml", "[server]\nport = 1\nworkers = 2\n").unwrap();
    write("cloud.toml", "[server]\nport = 3\n").unwrap();
    let files = |settings: &Settings| -> Vec<String> {
        settings.files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let local = load_in(folder.path(), &[]).unwrap();
    assert_eq!((local.server.port, files(&local)), (1, vec!["local.toml".to_owned()]));
    let [warning] = local.warnings.as_slice() else { panic!("{:?}", local.warnings) };
    assert!(warning.contains("cloud.toml is not read") && warning.ends_with("ARK_ENV=cloud"), "{warning}");
    let cloud = load_in(folder.path(), &[("ARK_ENV", "cloud")]).unwrap();
    assert_eq!((cloud.server.port, cloud.server.workers, cloud.warnings.len()), (3, 2, 0));
    assert_eq!(files(&cloud), ["local.toml", "cloud.toml"]);
    assert_eq!(files(&load_in(folder.path(), &[("ARK_ENV", "local")]).unwrap()), ["local.toml"]);
}

#[test]
fn bad_values_list_what_is_taken_in_words_of_the_settings() {
    for (name, value, said) in [
        ("ARK_TRUST_MODE", "strict", "ARK_TRUST_MODE is \"strict\"; it takes open, tofu, verified or allowlist"),
        ("ARK_INSTANCE_TYPE", "edge", "ARK_INSTANCE_TYPE is \"edge\"; it takes local, cloud or pi"),
        ("FEDERATION_MODE", "mesh", "FEDERATION_MODE is \"mesh\"; it takes p2p, hub or hybrid"),
        ("FEDERATION_PORT", "99999", "FEDERATION_PORT is \"99999\"; it takes a whole number from 0 to 65535"),
        ("FEDERATION_BIND_PORT", "80a", "FEDERATION_BIND_PORT is \"80a\"; it takes a whole number"),
        ("FEDERATION_AUTO_SYNC", "maybe", "FEDERATION_AUTO_SYNC is \"maybe\"; it takes true or false"),
        ("ARK_PEER_TTL", "120", "ARK_PEER_TTL is \"120\"; it takes a duration with its unit"),
        ("ARK__SERVER__WORKERS", "-1", "ARK__SERVER__WORKERS is \"-1\"; it takes a whole number"),
        ("ARK__FEDERATION__PRIVATE_PEERS", "lan", "it takes \"auto\", true or false"),
        (
            "ARK__SERVER__WORKRES",
            "3",
            "ARK__SERVER__WORKRES sets server.workres, which is no setting; did you mean ARK__SERVER__WORKERS?",
        ),
        ("ARK__STATE__XYZ", "3", "the settings of state are path"),
        ("ARK__NOWHERE__X", "3", "ARK__NOWHERE__X names a section nowhere"),
    ] {
        let text = error(&[(name, value)]);
        assert!(text.contains(said), "{name}={value}: {text}");
        for word in ["enum ", "variant", "invalid type", "expected", "integer", "deserialize"] {
            assert!(!text.contains(word), "{name}={value}: {text}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| {
        let path = folder.path().join("local.toml");
        std::io::Write::write_all(&mut std::fs::File::create(path).unwrap(), text.as_bytes()).unwrap();
        load_in(folder.path(), &[]).unwrap_err().to_string()
    };
    for (text, said) in [
        ("[server]\nprot = 1\n", "server.prot is no setting in "),
        ("[server]\nprot = 1\n", "did you mean server.port?"),
        ("[sever]\nport = 1\n", "did you mean server?"),
        ("port = 1\n", "port is no section of the settings"),
        ("[server]\nport = \"x\"\n", "local.toml; it takes a whole number"),
        ("[admin]\ntoken = [\"hunter2\"]\n", "admin.token cannot be used"),
    ] {
        let error = file(text);
        assert!(error.contains(said) && !error.contains("hunter2"), "{text}: {error}");
    }
}

#[test]
fn unknown_variables_are_named_with_the_nearest_known_one() {
    for (name, near) in [
        ("FEDERATION_AUTOSYNC", "did you mean FEDERATION_AUTO_SYNC?"),
        ("ARK_ADMIN_TOKN", "did you mean ARK_ADMIN_TOKEN?"),
        ("FEDERATION_HOST", "did you mean ARK__SERVER__HOST?"),
        ("ARK_LOG_LEVEL", "did you mean ARK__LOG__LEVEL?"),
        ("ARK_CONFIG_DIRS", "did you mean ARK_CONFIG_DIR?"),
        ("LATTICE_PATHS", "did you mean LATTICE_PATH?"),
        ("CONTINUUM_RAFT_HEARTBEAT_INTERVAL", "ignores it; unset it"),
        ("META_LOG_ENABLE_FEDERATION", "ignores it; unset it"),
        ("GATEWAY_JWT_SECRET", "ignores it; unset it"),
    ] {
        let warnings = load(&[(name, "x")]).unwrap().warnings;
        let [warning] = warnings.as_slice() else { panic!("{name}: {warnings:?}") };
        assert!(warning.starts_with(name) && warning.ends_with(near), "{warning}");
    }
    assert!(load(&[("OTHERS_VARIABLE", "x"), ("ARK_CONFIG_DIR", "x")]).unwrap().warnings.is_empty());
}

#[test]
fn a_number_that_is_plausible_in_another_unit_is_warned_of() {
    for (value, taken) in [("1800", "FEDERATION_SYNC_INTERVAL=1800ms"), ("500", "FEDERATION_SYNC_INTERVAL=500s")] {
        let settings = load(&[("FEDERATION_SYNC_INTERVAL", value)]).unwrap();
        let [warning] = settings.warnings.as_slice() else { panic!("{:?}", settings.warnings) };
        assert!(warning.contains(taken), "{warning}");
    }
    for clear in ["60", "60000", "1800s", "500ms"] {
        assert!(load(&[("FEDERATION_SYNC_INTERVAL", clear)]).unwrap().warnings.is_empty(), "{clear}");
    }
    assert!(load(&[("FEDERATION_DISCOVERY_INTERVAL", "1800")]).unwrap().warnings.is_empty());
}

#[test]
fn errors_name_the_variable_that_set_the_value() {
    assert!(error(&[("ARK_ADMIN_TOKEN", "short")]).ends_with("(set by ARK_ADMIN_TOKEN)"));
    assert!(error(&[("FEDERATION_NODE_NAME", "a\u{7}b")]).ends_with("(set by FEDERATION_NODE_NAME)"));
}

#[test]
fn peers_that_hub_mode_passes_over_are_warned_of() {
    let hub = [("FEDERATION_MODE", "hub"), ("FEDERATION_HUB_URL", "https://h.example")];
    assert!(load(&hub).unwrap().warnings.is_empty());
    let both = [&hub[..], &[("FEDERATION_TRUSTED_PEERS", "https://b.example")]].concat();
    assert!(load(&both).unwrap().warnings[0].contains("FEDERATION_MODE=hybrid"));
}

#[test]
fn whoever_trusts_everybody_is_warned() {
    let settings = load(&[("ARK__SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::/0")]).unwrap();
    assert_eq!(settings.server.trusted_proxies.len(), 2);
    assert!(settings.warnings.iter().any(|warning| warning.contains("trusted_proxies")), "{:?}", settings.warnings);
    assert!(load(&[("ARK__SERVER__TRUSTED_PROXIES", "10.0.0.0/8")]).unwrap().warnings.is_empty());
}

#[test]
fn a_misspelt_variable_is_pointed_out() {
    assert!(load(&[("ARK_PEER_TLL", "5m")]).unwrap().warnings[0].contains("ARK_PEER_TLL"));
}

#[test]
fn what_holds_is_shown_as_toml_without_the_secrets() {
    let settings = load(&[
        ("ARK_ADMIN_TOKEN", "a-long-enough-token"),
        ("REDIS_URL", "redis://user:hunter2@localhost"),
        ("FEDERATION_NETWORK_KEY", "hunter2"),
        ("FEDERATION_TRUSTED_PEERS", "http://a:1,http://b:2"),
        ("FEDERATION_PORT", "9100"),
    ])
    .unwrap();
    let shown = settings.show();
    assert!(!shown.contains("hunter2") && !shown.contains("long-enough"), "{shown}");
    let table: toml::Table = shown.parse().unwrap();
    assert_eq!(table["admin"]["token"].as_str(), Some("(set)"));
    assert_eq!(table["federation"]["network_key"].as_str(), Some("(set)"));
    assert_eq!(table["federation"]["trusted_peers"].as_array().unwrap().len(), 2);
    assert_eq!(table["server"]["port"].as_integer(), Some(9100));
    assert!(!table["instance"].as_table().unwrap().contains_key("private_key"));
}

#[test]
fn a_file_with_a_slip_is_named_without_its_text() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["[admin]\ntoken = \"hunter2-and-so-on\nx = 1\n", "[admin]\ntoken = hunter2-and-so-on\n"] {
        let mut file = std::fs::File::create(folder.path().join("cloud.toml")).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let said = load_in(folder.path(), &[("ARK_ENV", "cloud")]).unwrap_err().to_string();
        assert!(said.contains("cloud.toml") && said.contains("line 2") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn redis_settings_that_contradict_each_other_refuse_to_start() {
    const URL: (&str, &str) = ("REDIS_URL", "redis://localhost");
    const SENTINELS: (&str, &str) = ("ARK__REGISTRY__REDIS_SENTINELS", "a:1, b:2");
    const CLUSTER: (&str, &str) = ("ARK__REGISTRY__REDIS_CLUSTER_NODES", "a:1");
    for (variables, expected) in [
        (vec![SENTINELS, CLUSTER], "registry.redis_sentinels, registry.redis_cluster_nodes"),
        (vec![("ARK__REGISTRY__REDIS_PASSWORD", "hunter2")], "registry.redis_password: is set, but no Redis is"),
        (vec![("ARK__REGISTRY__REDIS_CA_FILE", "x")], "registry.redis_ca_file"),
        (vec![URL, ("ARK__REGISTRY__REDIS_SENTINEL_PASSWORD", "hunter2")], "registry.redis_sentinel_password"),
        (
            vec![URL, ("ARK__REGISTRY__REDIS_PASSWORD", "hunter2"), ("ARK__REGISTRY__REDIS_PASSWORD_FILE", "x")],
            "registry.redis_password, registry.redis_password_file",
        ),
        (
            vec![URL, ("ARK__REGISTRY__REDIS_CLIENT_KEY", "x")],
            "registry.redis_client_certificate, registry.redis_client_key",
        ),
        (
            vec![URL, ("ARK__REGISTRY__REDIS_PASSWORD_FILE", "/nowhere/file")],
            "registry.redis_password_file: /nowhere/file",
        ),
        (
            vec![URL, ("ARK__REGISTRY__REDIS_PASSWORD_FILE", "/dev/null")],
            "registry.redis_password_file: /dev/null: is empty",
        ),
        (vec![CLUSTER, ("ARK__REGISTRY__PREFIX", "{x}")], "registry.prefix"),
        (vec![URL, ("ARK__REGISTRY__REDIS_MIN_REPLICAS", "-1")], "redis_min_replicas"),
    ] {
        let text = error(&variables);
        assert!(text.contains(expected) && !text.contains("hunter2"), "{variables:?}: {text}");
    }
    let settings = load(&[SENTINELS, ("ARK__REGISTRY__REDIS_PASSWORD", "hunter2")]).unwrap();
    assert_eq!(settings.registry.redis_sentinels, ["a:1", "b:2"]);
    assert!(!settings.show().contains("hunter2") && !format!("{settings:?}").contains("hunter2"));
}

#[test]
fn service_is_looked_for_in_one_named_directory_or_in_the_usual_ones() {
    let states = |variables: &[(&str, &str)]| {
        let states = load(variables).unwrap().service_states;
        states.iter().map(|state| state.display().to_string()).collect::<Vec<_>>()
    };
    let system = ["/var/lib/ark-lattice", "/var/lib/ark-lattice/state"];
    assert_eq!(states(&[]), [&["./ark_state"][..], &system].concat());
    assert_eq!(states(&[("ARK_STATE_PATH", "/srv/state"), ("HOME", "/home/a")]), ["/srv/state"]);
    let home = states(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "relative")]);
    assert_eq!(home, [&["./ark_state", "/home/a/.local/state/ark-lattice"][..], &system].concat());
    let xdg = states(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/x")]);
    assert_eq!(xdg, [&["./ark_state", "/x/ark-lattice"][..], &system].concat());
}

#[test]
fn public_peers_over_plain_http_need_the_setting() {
    let peers = ("FEDERATION_TRUSTED_PEERS", "http://10.0.0.1:9001,https://203.0.113.7,http://peer.example");
    assert!(load(&[peers]).is_ok());
    for public in ["http://203.0.113.7:9001", "http://[2606:4700::1111]:9001"] {
        for name in ["FEDERATION_TRUSTED_PEERS", "FEDERATION_HUB_URL"] {
            let said = error(&[(name, public)]);
            assert!(said.starts_with("federation.plain_http: ") && said.contains(public), "{said}");
            let allowed = load(&[(name, public), ("ARK__FEDERATION__PLAIN_HTTP", "always")]).unwrap();
            assert!(allowed.warnings.iter().any(|warning| warning.contains(public)), "{:?}", allowed.warnings);
        }
    }
    assert!(error(&[("ARK__FEDERATION__PLAIN_HTTP", "sometimes")]).contains("plain_http"));
}

#[test]
fn trust_of_loopback_is_off_and_warned_of() {
    assert!(!load(&[]).unwrap().server.trust_loopback);
    let on = ("ARK__SERVER__TRUST_LOOPBACK", "true");
    assert!(load(&[on]).unwrap().warnings.iter().any(|warning| warning.contains("without a token")));
    let both = load(&[on, ("ARK_ADMIN_TOKEN", "a-long-enough-token")]).unwrap();
    assert!(both.warnings.iter().any(|warning| warning.contains("has no effect")));
}

#[test]
fn the_settings_name_peers_by_address_or_with_their_key() {
    // Of RFC 8032, 7.1.
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let hub = format!("hub={key}@https://hub.example");
    let both = [("FEDERATION_HUB_URL", hub.as_str()), ("FEDERATION_TRUSTED_PEERS", "https://b.example")];
    let urls = |settings: &Settings| -> Vec<String> {
        settings.configured_peers().unwrap().into_iter().map(|peer| peer.url).collect()
    };
    assert_eq!(urls(&load(&both).unwrap()), ["https://hub.example", "https://b.example"]);
    let spoke = load(&[&both[..], &[("FEDERATION_MODE", "hub")]].concat()).unwrap();
    assert_eq!(urls(&spoke), ["https://hub.example"]);
    let (id, pinned) = spoke.configured_peers().unwrap().remove(0).pinned.unwrap();
    assert_eq!((id.as_str(), pinned.to_base64().as_str()), ("hub", key));
    // The key is listed as well: no other one takes the id.
    let set = |peers: &str| load(&[("FEDERATION_TRUSTED_PEERS", peers)]);
    let settings = set(&format!("a=b={key}@https://pi.example, http://user:pw@b:2")).unwrap();
    assert_eq!(urls(&settings), ["https://pi.example", "http://user:pw@b:2"]);
    let listed: Vec<_> = settings.trust.listed.iter().map(|it| (it.node_id.as_str(), it.pubkey.as_str())).collect();
    assert_eq!(listed, [("a=b", key)]);
    for wrong in
        ["pi@http://a:1", "=@http://a:1", "pi=@http://a:1", "pi=AAAA@http://a:1", &format!("={key}@http://a:1")]
    {
        let said = set(wrong).unwrap_err().to_string();
        assert!(said.starts_with("federation.trusted_peers: ") && said.contains(wrong), "{said}");
    }
    let other = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";
    let said = set(&format!("pi={key}@http://a:1,pi={other}@http://a:2")).unwrap_err().to_string();
    assert!(said.contains("listed with another key"), "{said}");
    // One instance at two addresses.
    assert_eq!(set(&format!("pi={key}@http://a:1,pi={key}@http://a:2")).unwrap().trust.listed.len(), 1);
    let public = format!("b={key}@http://203.0.113.7");
    assert!(error(&[("FEDERATION_TRUSTED_PEERS", &public)]).starts_with("federation.plain_http: "));
}
