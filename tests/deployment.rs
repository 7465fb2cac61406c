//! What an operator starts: the compose file, the unit and the manifests, read and carried out by hand as far as that goes without a
//! container engine, a booted systemd or a cluster. `scripts/lint-deploy.sh` checks their form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should stop where it stands"
)]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/python.rs"]
mod python;
#[path = "support/service.rs"]
mod service;
#[path = "support/signing.rs"]
mod signing;

use proxy::{Proxy, replace};
use python::run_script;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use service::{BINARY, Place, json_of, until};
use signing::{key, manifest, signed};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// The only document of a YAML file.
fn yaml(path: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1], encoding='utf-8'))))";
    run_script(script, &[repository(path).to_str().unwrap()]).ok_json()
}

/// How long the service lets requests finish.
fn shutdown_seconds() -> u64 {
    ark_lattice::settings::Settings::default().server.shutdown_timeout.get().as_secs()
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

// --- docker-compose.yml -----------------------------------------------------------------------------------------------------

/// `.env`, as `deploy/make-env.sh` makes it.
fn make_env(folder: &Path) -> Output {
    fs::create_dir_all(folder.join("deploy")).unwrap();
    for file in [".env.example", "deploy/make-env.sh"] {
        fs::copy(repository(file), folder.join(file)).unwrap();
    }
    Command::new(folder.join("deploy/make-env.sh")).current_dir("/").output().unwrap()
}

fn env_file(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `${NAME:-default}` and `${NAME:?message}`; what compose would refuse is an error.
fn interpolate(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, next) = after.split_once('}').unwrap();
        let (name, rule) = inner.split_once(':').unwrap_or_else(|| panic!("{inner}: neither a default nor a message"));
        let value = variables.get(name).filter(|value| !value.is_empty());
        out.push_str(before);
        match (value, rule.split_at(1)) {
            (Some(value), _) => out.push_str(value),
            (None, ("-", default)) => out.push_str(default),
            (None, ("?", message)) => return Err(format!("{name}: {message}")),
            _ => panic!("{inner}: not understood"),
        }
        rest = next;
    }
    out.push_str(rest);
    Ok(out)
}

/// A service's environment as the container gets it.
fn environment(service: &Value, variables: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let entries = service["environment"].as_object().unwrap().iter();
    let given = entries.filter_map(|(name, value)| match value.as_str() {
        Some(text) => Some(interpolate(text, variables).map(|value| (name.clone(), value))),
        // Without a value: the variable of that name, where there is one.
        None => variables.get(name).map(|value| Ok((name.clone(), value.clone()))),
    });
    given.collect()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Redis as the compose file starts it, but on the loopback address and with other paths.
struct Redis {
    process: Killed,
    port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    async fn start(compose: &Value, variables: &BTreeMap<String, String>) -> Self {
        // Between finding a free port and using it, someone else may take it: then try another.
        for _ in 0..5 {
            if let Some(started) = Self::try_start(compose, variables).await {
                return started;
            }
        }
        panic!("Redis does not start");
    }

    async fn try_start(compose: &Value, variables: &BTreeMap<String, String>) -> Option<Self> {
        let redis = &compose["services"]["redis"];
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command: Vec<String> = list(&redis["command"]).into_iter().map(str::to_owned).collect();
        let script = command.last_mut().unwrap();
        *script = replace(script, "/etc/redis/users.acl", repository("deploy/redis/users.acl").to_str().unwrap());
        *script = replace(script, "/run/redis/", &format!("{}/", folder.path().display()));
        *script = format!("{} --bind 127.0.0.1 --port {port} --dir {}\n", script.trim_end(), folder.path().display());
        let process = Command::new(&command[0])
            .args(&command[1..])
            .envs(environment(redis, variables).unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut started = Self { process: Killed(process), port, folder };
        // Its own health check; `up --wait` waits for the same.
        let check = list(&redis["healthcheck"]["test"]);
        assert_eq!(&check[..2], ["CMD", "redis-cli"]);
        let mut healthy = false;
        until("Redis is healthy, or has ended", Duration::from_secs(20), async || {
            let answer = started.client(&check[2..], None);
            healthy = answer.status.success() && answer.stdout == b"PONG\n";
            healthy || started.process.0.try_wait().unwrap().is_some()
        })
        .await;
        healthy.then_some(started)
    }

    fn client(&self, args: &[&str], password: Option<&str>) -> Output {
        let mut client = Command::new("redis-cli");
        client.args(["-p", &self.port.to_string()]);
        if let Some(password) = password {
            client.args(["--user", "ark", "--no-auth-warning"]).env("REDISCLI_AUTH", password);
        }
        client.args(args).output().unwrap()
    }

    fn says(&self, args: &[&str], password: Option<&str>) -> String {
        String::from_utf8(self.client(args, password).stdout).unwrap()
    }
}

#[test]
fn the_secrets_of_the_compose_file_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let made = make_env(folder.path());
    assert!(made.status.success(), "{made:?}");
    let path = folder.path().join(".env");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let variables = env_file(&text);
    // Two installations on one machine are two instances.
    let other = tempfile::tempdir().unwrap();
    assert!(make_env(other.path()).status.success());
    let id = |text: &str| env_file(text)["ARK_NODE_ID"].clone();
    let (one, two) = (id(&text), id(&fs::read_to_string(other.path().join(".env")).unwrap()));
    assert!(one != two && one.starts_with("ark-") && one.len() > "ark--01234567".len(), "{one} {two}");
    for secret in ["ARK_REDIS_PASSWORD", "ARK_ADMIN_TOKEN"] {
        let value = &variables[secret];
        assert!(value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value:?}");
        // Nothing secret is committed.
        assert_eq!(env_file(&read(".env.example"))[secret], "");
    }
    assert_ne!(variables["ARK_REDIS_PASSWORD"], variables["ARK_ADMIN_TOKEN"]);
    assert!(read(".gitignore").lines().any(|line| line == "/.env"));
    assert!(!make_env(folder.path()).status.success());
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn the_compose_file_gives_each_part_what_it_needs_and_no_more() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        assert_eq!(service.get("ports").is_some(), name == "caddy", "{name}: only Caddy can be reached from outside");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(list(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(list(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        let bounded = ["mem_limit", "cpus", "pids_limit", "restart"].iter().all(|key| !service[*key].is_null());
        assert!(bounded, "{name}");
        let image = service["image"].as_str().unwrap();
        assert!(image.split_once(':').is_some_and(|(_, tag)| tag != "latest"), "{name}: {image}");
        let networks: Vec<&String> = service["networks"].as_object().unwrap().keys().collect();
        let inside = networks.iter().all(|network| compose["networks"][network.as_str()]["internal"] == true);
        assert_eq!(inside, name != "caddy", "{name}: {networks:?}");
    }
    // Whoever takes over the proxy does not get at Redis.
    assert!(services["caddy"]["networks"].get("registry").is_none());
    // The image's own health check counts.
    assert!(services["ark-lattice"].get("healthcheck").is_none());
    // Time to finish what was begun.
    let grace = services["ark-lattice"]["stop_grace_period"].as_str().unwrap().strip_suffix('s').unwrap();
    assert!(grace.parse::<u64>().unwrap() > shutdown_seconds());
    // Without secrets nothing starts.
    let nothing = BTreeMap::new();
    for name in ["ark-lattice", "redis"] {
        let refusal = environment(&services[name], &nothing).unwrap_err();
        assert!(refusal.contains("deploy/make-env.sh"), "{refusal}");
    }
    let version = format!("ark-lattice:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(services["ark-lattice"]["image"], version);
}

#[tokio::test]
async fn the_steps_of_the_compose_file_give_a_service_over_https() {
    let home = tempfile::tempdir().unwrap();
    assert!(make_env(home.path()).status.success());
    let mut variables = env_file(&fs::read_to_string(home.path().join(".env")).unwrap());
    let compose = yaml("docker-compose.yml");
    let redis = Redis::start(&compose, &variables).await;

    // What the image sets is below what the compose file sets; `Place` names the directories.
    let mut place = Place::new().with_default_trust();
    for (name, value) in environment(&compose["services"]["ark-lattice"], &variables).unwrap() {
        let value = match name.as_str() {
            "REDIS_URL" => replace(&value, "redis:6379", &format!("127.0.0.1:{}", redis.port)),
            // There is no network of containers here.
            "ARK__SERVER__TRUSTED_PROXIES" => "127.0.0.1".to_owned(),
            _ => value,
        };
        place = place.set(&name, &value);
    }
    let service = place.serve().await;
    assert_eq!(service.get_json("/health").await["registry"]["kind"], "redis");
    // The image's health check, with the container's environment.
    let check = dockerfile_healthcheck();
    let mut healthy = place.command(&check.iter().map(String::as_str).collect::<Vec<_>>());
    let healthy = healthy.env("FEDERATION_PORT", service.port.to_string()).output().unwrap();
    assert!(healthy.status.success() && healthy.stdout.is_empty(), "{healthy:?}");

    let caddy = environment(&compose["services"]["caddy"], &variables).unwrap();
    let caddy: Vec<(&str, &str)> = caddy.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let proxy = Proxy::caddy(service.port, &caddy).await;
    let client = proxy.client();
    let envelope = signed(&key(1), &manifest("ark-elsewhere", 1));
    let request = client.post(proxy.url("/manifest")).header(CONTENT_TYPE, "application/json").body(envelope);
    assert_eq!(json_of(request.send().await.unwrap()).await["status"], "registered");
    let peers = json_of(client.get(proxy.url("/discover")).send().await.unwrap()).await;
    assert_eq!(peers["peers"][0]["node_id"], "ark-elsewhere");
    let token = variables.remove("ARK_ADMIN_TOKEN").unwrap();
    let node = serde_json::json!({"id": "a"});
    let written = client.put(proxy.url("/nodes/a")).bearer_auth(&token).json(&node).send().await.unwrap();
    assert_eq!(written.status(), 201);

    let password = variables["ARK_REDIS_PASSWORD"].as_str();
    assert_eq!(redis.says(&["EXISTS", "peer:ark-elsewhere", "pin:ark-elsewhere"], Some(password)), "2\n");
    // Nobody without the password, no other keys, and nothing that ends the others' work.
    assert!(redis.says(&["GET", "peer:x"], None).starts_with("NOAUTH"));
    assert!(redis.says(&["GET", "peer:x"], Some("wrong")).contains("NOAUTH"));
    for refused in [&["SET", "x", "y"][..], &["FLUSHALL"], &["KEYS", "*"], &["CONFIG", "GET", "*"], &["ACL", "LIST"]] {
        let said = redis.says(refused, Some(password));
        assert!(said.starts_with("NOPERM"), "{refused:?}: {said}");
    }
    let probe = ["--user", "probe", "--pass", "none", "--no-auth-warning", "EXISTS", "peer:ark-elsewhere"];
    assert!(redis.says(&probe, None).starts_with("NOPERM"));
    // The list of users with the password in it is its owner's alone.
    let users = redis.folder.path().join("users.acl");
    assert_eq!(fs::metadata(users).unwrap().permissions().mode() & 0o077, 0);
}

// --- Dockerfile -------------------------------------------------------------------------------------------------------------

/// The words of an instruction in JSON form after `mark`.
fn json_form(dockerfile: &str, mark: &str) -> Vec<String> {
    let after = dockerfile.split_once(mark).unwrap_or_else(|| panic!("there is no {mark}")).1;
    serde_json::from_str(after.lines().next().unwrap()).unwrap()
}

fn dockerfile_healthcheck() -> Vec<String> {
    let mut words = json_form(&read("Dockerfile"), "\n    CMD ");
    let program = words.remove(0);
    assert_eq!(vec![program], json_form(&read("Dockerfile"), "\nENTRYPOINT "));
    words
}

/// The commands of the layer with the dependencies, without the build itself.
#[test]
fn the_stubs_of_the_image_are_a_package_that_compiles() {
    let dockerfile = read("Dockerfile");
    let layer = dockerfile.split_once("\nRUN mkdir src").unwrap().1.split_once("\n    && cargo build").unwrap().0;
    let script = format!("set -e\nmkdir src{layer}");
    let script = script.trim_end().trim_end_matches('\\');
    let folder = tempfile::tempdir().unwrap();
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(repository(file), folder.path().join(file)).unwrap();
    }
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("sh", &["-c", script]);
    // Every target that Cargo.toml names is there, and ours are free of what our lints refuse.
    run("cargo", &["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1"]);
    run("rustc", &["--edition", "2024", "--emit=metadata", "-D", "missing_docs", "--crate-type", "lib", "src/lib.rs"]);
    run("rustc", &["--edition", "2024", "--emit=metadata", "-D", "missing_docs", "src/main.rs"]);
}

#[test]
fn the_image_has_the_right_version_and_everything_that_its_build_reads() {
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains(&format!("ARG VERSION={}\n", env!("CARGO_PKG_VERSION"))));
    let let_in = read(".dockerignore");
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from=")) {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        for source in &words[..words.len() - 1] {
            let name = source.split('-').next().unwrap();
            assert!(repository(source).exists(), "{line}");
            assert!(let_in.lines().any(|rule| rule == format!("!{source}") || rule == format!("!{name}*")), "{line}");
        }
    }
}

/// The files that the compiler takes into the program must be in the image's build.
#[test]
fn the_program_includes_only_files_that_the_image_has() {
    let dockerfile = read("Dockerfile");
    let build = dockerfile.rsplit_once("\n    && cargo build").unwrap().0;
    let copied = build.lines().filter_map(|line| line.strip_prefix("COPY ")?.split(' ').next());
    let copied: Vec<PathBuf> = copied.map(|part| repository(part).canonicalize().unwrap()).collect();
    let mut folders = vec![repository("src")];
    let mut included = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for mark in ["include_str!(\"", "include_bytes!(\""] {
                for rest in text.split(mark).skip(1) {
                    let file = folder.join(rest.split('"').next().unwrap()).canonicalize().unwrap();
                    let there = copied.iter().any(|part| file.starts_with(part));
                    assert!(there, "{} includes {}", path.display(), file.display());
                    included += 1;
                }
            }
        }
    }
    assert!(included >= 3, "found only {included}");
}

// --- systemd ----------------------------------------------------------------------------------------------------------------

/// What systemd would give the process: `%S` and `%d` in place of systemd's own directories.
fn unit_environment(unit: &str, state: &Path, credentials: &Path) -> BTreeMap<String, String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let pairs = lines.map(|line| line.split_once('=').unwrap());
    let filled = |value: &str| {
        value.replace("%S", state.to_str().unwrap()).replace("%d", credentials.to_str().unwrap()).to_owned()
    };
    pairs.map(|(name, value)| (name.to_owned(), filled(value))).collect()
}

#[tokio::test]
async fn the_units_environment_and_credentials_start_the_service() {
    let unit = read("deploy/systemd/ark-lattice.service");
    let grace = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().strip_suffix('s').unwrap();
    assert!(grace.parse::<u64>().unwrap() > shutdown_seconds());
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    let state = folder.path().join("state");
    for directory in unit.lines().find_map(|line| line.strip_prefix("StateDirectory=")).unwrap().split(' ') {
        fs::create_dir_all(state.join(directory)).unwrap();
    }
    fs::create_dir(&credentials).unwrap();
    // As the how-to makes them; every credential of the unit is one of these.
    let made = Command::new(BINARY).args(["keygen", "--json", "--out"]).arg(credentials.join("identity.key")).output();
    let public: Value = serde_json::from_slice(&made.unwrap().stdout).unwrap();
    fs::write(credentials.join("admin-token"), format!("{}\n", service::TOKEN)).unwrap();
    for name in ["identity.key", "admin-token"] {
        assert!(unit.contains(&format!("\nLoadCredential={name}:/etc/ark-lattice/{name}\n")), "{name}");
        fs::set_permissions(credentials.join(name), fs::Permissions::from_mode(0o400)).unwrap();
    }
    let mut command = Command::new(BINARY);
    command.env_clear().envs(unit_environment(&unit, &state, &credentials)).current_dir(state.join("ark-lattice"));
    let words = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/ark-lattice ")).unwrap();
    command.args(words.split(' ')).args(["--port", "0", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Killed(command.spawn().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(process.0.stdout.take().unwrap()), &mut line).unwrap();
    let url = serde_json::from_str::<Value>(&line).unwrap()["url"].as_str().unwrap().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let index = json_of(client.get(format!("{url}/")).send().await.unwrap()).await;
    assert!(public["public_key"].is_string() && index["pubkey"] == public["public_key"], "{index}");
    let put = || client.put(format!("{url}/nodes/a")).bearer_auth(service::TOKEN).json(&serde_json::json!({"id": "a"}));
    until("the index is built", Duration::from_secs(20), async || put().send().await.unwrap().status().is_success())
        .await;
    // The nodes are where the group may read them; what is ours alone is ours alone.
    assert!(state.join("ark-lattice/lattice/a.json").exists());
    let ours = fs::metadata(state.join("ark-lattice/state")).unwrap();
    assert_eq!(ours.permissions().mode() & 0o777, 0o700);
}

/// What a folder of a secret holds, as the kubelet shows it: links to a folder of that moment, exchanged in one step.
fn mount(mounted: &Path, source: &Path, version: u32) {
    let (data, next) = (format!("..{version}"), mounted.join("..data_tmp"));
    fs::create_dir_all(mounted.join(&data)).unwrap();
    let names = fs::read_dir(source).unwrap().map(|entry| entry.unwrap().file_name());
    for name in names {
        let copy = mounted.join(&data).join(&name);
        fs::copy(source.join(&name), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o440)).unwrap();
    }
    symlink(&data, &next).unwrap();
    fs::rename(next, mounted.join("..data")).unwrap();
    for name in fs::read_dir(mounted.join(&data)).unwrap().map(|entry| entry.unwrap().file_name()) {
        let _it_is_there = symlink(Path::new("..data").join(&name), mounted.join(&name));
    }
}

#[tokio::test]
async fn a_key_that_is_mounted_read_only_is_rotated_where_it_comes_from() {
    let mut place = Place::new().with_default_trust();
    place.without_power();
    let (source, mounted) = (place.path("source"), place.path("mounted"));
    for folder in [&source, &mounted] {
        fs::create_dir(folder).unwrap();
    }
    let key_file = |place: Place, folder: &Path| {
        place.set("ARK__INSTANCE__KEY_FILE", folder.join("identity.key").to_str().unwrap())
    };
    let run = |place: &Place, args: &[&str]| {
        let output = place.command(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&place, &["keygen", "--out", source.join("identity.key").to_str().unwrap()]).0, Some(0));
    mount(&mounted, &source, 1);
    fs::set_permissions(&mounted, fs::Permissions::from_mode(0o555)).unwrap();
    let place = key_file(place, &mounted);
    let service = place.serve().await;
    let key = async || service.get_json("/").await["pubkey"].clone();
    let old = key().await;
    let (code, said) = run(&place, &["key", "rotate"]);
    assert!(code == Some(1) && said.contains("Permission denied"), "{said}");
    assert_eq!(key().await, old);

    let place = key_file(place, &source);
    assert_eq!(run(&place, &["key", "rotate"]).0, Some(0));
    fs::set_permissions(&mounted, fs::Permissions::from_mode(0o755)).unwrap();
    mount(&mounted, &source, 2);
    until("the new key is taken", Duration::from_secs(20), async || key().await != old).await;
    until("what says so is shown", Duration::from_secs(20), async || {
        let stated = service.get_json("/lattice/identity").await;
        stated["statements"].as_array().is_some_and(|statements| statements.len() == 2)
    })
    .await;
    assert!(fs::read_to_string(place.path("log")).unwrap().lines().all(|line| !line.contains("panicked")));
}

// --- Kubernetes -------------------------------------------------------------------------------------------------------------

fn manifests() -> BTreeMap<String, Value> {
    let files = fs::read_dir(repository("deploy/kubernetes")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), yaml(&format!("deploy/kubernetes/{name}")))).collect()
}

#[test]
fn the_manifests_belong_together() {
    let manifests = manifests();
    let listed = list(&manifests["kustomization.yaml"]["resources"]);
    let mut all: Vec<&str> = manifests.keys().map(String::as_str).collect();
    // The secret's example must not overwrite a secret.
    all.retain(|name| !["kustomization.yaml", "secret.example.yaml"].contains(name));
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, all);
    let label = "ark-lattice";
    for (name, object) in manifests.iter().filter(|(name, _)| *name != "kustomization.yaml") {
        let namespace =
            if name == "namespace.yaml" { &object["metadata"]["name"] } else { &object["metadata"]["namespace"] };
        assert_eq!(namespace, label, "{name}");
    }
    let selected = |value: &Value| value["app.kubernetes.io/name"] == label;
    let set = &manifests["statefulset.yaml"]["spec"];
    assert!(selected(&set["selector"]["matchLabels"]) && selected(&set["template"]["metadata"]["labels"]));
    assert!(selected(&manifests["service.yaml"]["spec"]["selector"]));
    assert!(selected(&manifests["networkpolicy.yaml"]["spec"]["podSelector"]["matchLabels"]));
    assert!(selected(&manifests["poddisruptionbudget.yaml"]["spec"]["selector"]["matchLabels"]));
    let images = &manifests["kustomization.yaml"]["images"][0];
    assert_eq!((images["name"].as_str(), images["newTag"].as_str()), (Some(label), Some(env!("CARGO_PKG_VERSION"))));
    // Every setting and secret is one that the program knows: it would warn of others.
    let mut place = Place::new().with_default_trust();
    for (name, value) in manifests["configmap.yaml"]["data"].as_object().unwrap() {
        place = place.set(name, value.as_str().unwrap());
    }
    let checked = place.command(&["config", "check", "--json"]).output().unwrap();
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&checked["ok"], checked["warnings"].as_array().unwrap().len()), (&true.into(), 0), "{checked}");
}

#[test]
fn the_pod_may_do_little_and_keeps_its_data() {
    let set = yaml("deploy/kubernetes/statefulset.yaml");
    let (set, pod) = (&set["spec"], &set["spec"]["template"]["spec"]);
    assert_eq!(set["replicas"], 1, "one process for one directory");
    assert_eq!((&pod["automountServiceAccountToken"], &pod["hostNetwork"]), (&false.into(), &Value::Null));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    // The user of the image, to whom /data belongs.
    let user = read("Dockerfile").lines().find_map(|line| line.strip_prefix("USER ").map(str::to_owned)).unwrap();
    let (uid, gid) = (&pod["securityContext"]["runAsUser"], &pod["securityContext"]["runAsGroup"]);
    assert_eq!(format!("{uid}:{gid}"), user);
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!((&context["runAsNonRoot"], &context["readOnlyRootFilesystem"]), (&true.into(), &true.into()));
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(list(&context["capabilities"]["drop"]), ["ALL"]);
        let image = container["image"].as_str().unwrap();
        assert_eq!(image, format!("ark-lattice:{}", env!("CARGO_PKG_VERSION")));
        assert!(container["resources"]["limits"]["memory"].is_string());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = container[probe]["httpGet"]["path"].as_str().unwrap();
            assert_eq!(path, if probe == "readinessProbe" { "/ready" } else { "/health" });
        }
        // The key comes with what is said of it, as soon as there is something.
        let sources = &pod["volumes"][0]["projected"]["sources"];
        let file = container["env"].as_array().unwrap().iter().find(|it| it["name"] == "ARK__INSTANCE__KEY_FILE");
        let file = Path::new(file.unwrap()["value"].as_str().unwrap()).file_name().unwrap().to_str().unwrap();
        assert_eq!(sources[0]["secret"]["items"][0]["path"], file);
        assert_eq!(sources[1]["secret"]["items"][0]["path"], format!("{file}.statements.json"));
        assert_eq!(
            (&sources[0]["secret"]["optional"], &sources[1]["secret"]["optional"]),
            (&Value::Null, &true.into())
        );
        // What must outlive the pod is on the volume, and nothing else can be written.
        let mounts = container["volumeMounts"].as_array().unwrap();
        let writable: Vec<&Value> = mounts.iter().filter(|mount| mount["readOnly"] != true).collect();
        assert!(writable.iter().all(|mount| mount["name"] == "data"));
        for variable in ["LATTICE_PATH", "ARK_STATE_PATH"] {
            let entries = container["env"].as_array().unwrap();
            let entry = entries.iter().find(|entry| entry["name"] == variable).unwrap();
            assert!(writable.iter().any(|mount| mount["mountPath"] == entry["value"]), "{variable}");
        }
    }
    // Grace is longer than what runs within it.
    let before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > before + shutdown_seconds());
}

#[test]
fn the_ingress_lists_every_route_but_the_metrics() {
    let ingress = yaml("deploy/kubernetes/ingress.yaml");
    let paths = ingress["spec"]["rules"][0]["http"]["paths"].as_array().unwrap();
    let served = |route: &str| {
        paths.iter().any(|entry| {
            let path = entry["path"].as_str().unwrap();
            let below = route.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
            route == path || (entry["pathType"] == "Prefix" && below)
        })
    };
    for route in ark_lattice::api::ROUTES.iter().chain(ark_lattice::api::PEER_ROUTES) {
        assert_eq!(served(route.path), route.path != "/metrics", "{}", route.path);
    }
    assert!(served("/docs/") && !served("/elsewhere"));
}
