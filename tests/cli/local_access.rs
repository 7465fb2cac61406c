//! How commands find the running service: by its state directory, which holds its address and its local admin token.

use crate::bed::Bed;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

const STATUS: [&str; 3] = ["federation", "status", "--verbose"];

/// Runs the command from a folder of its own, which knows nothing of the service.
fn status_from(elsewhere: &Bed, more: &[&str]) -> (String, String) {
    let run = elsewhere.run(&[&STATUS[..], more].concat());
    let stderr = run.stderr.clone();
    (run.ok(), stderr)
}

#[test]
fn state_directory_is_found_by_option_variable_working_directory_and_xdg() {
    let service = Bed::new().set("ARK_NODE_ID", "ark-found");
    let _running = service.serve();
    let state = service.path("ark_state");
    let text = state.to_str().unwrap();
    let is_found = |bed: &Bed, more: &[&str], named: &str| {
        let (stdout, stderr) = status_from(bed, more);
        assert!(stdout.contains("ark-found"), "{stdout}");
        assert!(stderr.contains(&format!("state directory {named}: the service at http://127.0.0.1:")), "{stderr}");
    };
    is_found(&Bed::new(), &["--state", text], text);
    is_found(&Bed::new().set("ARK_STATE_PATH", text), &[], text);
    is_found(&service, &[], "./ark_state");

    let bed = Bed::new();
    fs::create_dir_all(bed.path("xdg")).unwrap();
    symlink(&state, bed.path("xdg/ark-lattice")).unwrap();
    let xdg = bed.path("xdg");
    let bed = bed.set("XDG_STATE_HOME", xdg.to_str().unwrap());
    is_found(&bed, &[], xdg.join("ark-lattice").to_str().unwrap());

    let bed = Bed::new();
    fs::create_dir_all(bed.path(".local/state")).unwrap();
    symlink(&state, bed.path(".local/state/ark-lattice")).unwrap();
    let home = bed.path(".");
    let bed = bed.set("HOME", home.to_str().unwrap());
    is_found(&bed, &[], home.join(".local/state/ark-lattice").to_str().unwrap());

    // Not with --json, and not unasked.
    assert_eq!(service.run(&["federation", "status"]).stderr, "");
    assert_eq!(service.run(&["federation", "status", "--json", "--verbose"]).stderr, "");
}

/// In a mount namespace, so that nothing of this machine is changed. Needs root, as CI has it.
#[test]
fn state_directory_of_the_system_is_found_last() {
    let service = Bed::new().set("ARK_NODE_ID", "ark-system");
    let _running = service.serve();
    let elsewhere = Bed::new();
    let script =
        "mount -t tmpfs none /var/lib && ln -s \"$1\" /var/lib/ark-lattice && exec \"$2\" federation status --verbose";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(service.path("ark_state"))
        .arg(env!("CARGO_BIN_EXE_ark-lattice"))
        .current_dir(elsewhere.path("."))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("ark-system"), "{stdout}{stderr}");
    assert!(stderr.contains("state directory /var/lib/ark-lattice: the service at"), "{stderr}");
}

#[test]
fn named_state_directory_without_a_service_is_an_error() {
    let bed = Bed::new();
    let said = bed.run(&["federation", "status", "--state", "nothing"]).fails(4);
    assert!(said.contains("no service runs with the state directory nothing"), "{said}");
    // A stopped service leaves no address and no token behind.
    let service = bed.serve();
    bed.run(&["federation", "status"]).ok();
    assert!(service.terminate(std::time::Duration::from_secs(20)).0.success());
    let said = bed.run(&["federation", "status", "--state", "ark_state"]).fails(4);
    assert!(said.contains("ark-lattice serve --state ark_state"), "{said}");
}

/// Needs root, as CI has it, to give the directory to another account.
#[test]
fn state_directory_of_another_account_in_the_working_directory_is_not_believed() {
    let service = Bed::new().set("ARK_NODE_ID", "ark-planted");
    let _running = service.serve();
    let bed = Bed::new();
    fs::create_dir(bed.path("ark_state")).unwrap();
    for name in ["local.token", "service.url"] {
        fs::copy(service.path("ark_state").join(name), bed.path("ark_state").join(name)).unwrap();
    }
    assert!(bed.run(&STATUS).ok().contains("ark-planted"), "of this account");
    std::os::unix::fs::chown(bed.path("ark_state"), Some(65534), Some(65534)).unwrap();
    let said = bed.run(&["federation", "status"]).fails(1);
    assert!(said.contains("uid 65534") && said.contains("--state ./ark_state"), "{said}");
    assert!(bed.run(&["federation", "status", "--state", "ark_state"]).ok().contains("ark-planted"), "named");
    std::os::unix::fs::chown(bed.path("ark_state"), Some(0), Some(0)).unwrap();
    fs::set_permissions(bed.path("ark_state"), fs::Permissions::from_mode(0o777)).unwrap();
    bed.run(&["federation", "status"]).fails(1);
}

#[test]
fn admin_token_is_not_sent_to_an_address_from_a_file() {
    // Somebody else's folder, in which a command is run: the file leads to a listener.
    let bed = Bed::new().set("ARK_ADMIN_TOKEN", "the-admin-token-of-another-service");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    write_private(&bed.path("ark_state"), "service.url", &url);
    write_private(&bed.path("ark_state"), "local.token", "bait");
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let length = std::io::Read::read(&mut stream, &mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    let _no_answer = bed.run(&["federation", "status"]);
    let heard = heard.join().unwrap();
    assert!(heard.contains("Bearer bait") && !heard.contains("the-admin-token"), "{heard}");
}

fn write_private(folder: &Path, name: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn printed_first_steps_work_as_they_are_printed() {
    let bed = Bed::new();
    let service = bed.serve();
    let command = format!(
        "curl --silent --fail -H \"Authorization: Bearer $(cat ark_state/local.token)\" {}/api/federation/status",
        service.url
    );
    let output = Command::new("sh").args(["-c", &command]).current_dir(bed.path(".")).output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("ark-bed"), "{output:?}");
    let without = format!("curl --silent {}/api/federation/status", service.url);
    let output = Command::new("sh").args(["-c", &without]).current_dir(bed.path(".")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).replace("\\\"", "\"");
    assert!(told.contains("-H \"Authorization: Bearer $(cat ark_state/local.token)\""), "{told}");
}
