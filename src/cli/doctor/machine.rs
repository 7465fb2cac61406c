//! What this machine gives: keys, directories, room, time, bounds.

use super::finding::Findings;
use crate::{
    cli::output::{count, size},
    ops::{self, Listing, OfflineDirectory},
    settings::{ServerSettings, Settings, id_prefix},
    startup,
    types::Timestamp,
};
use rustix::{
    fs::{Access, access, statvfs},
    process::{Resource, getrlimit},
};
use std::{fs, net::IpAddr, os::unix::fs::MetadataExt, path::Path, time::Duration};

/// Below this a directory is as good as full.
const ROOM_NEEDED: u64 = 64 << 20;
/// Below this it is worth a word.
const ROOM_WANTED: u64 = 1 << 30;
/// This program is not older than this day: no clock that is right is before it.
const WRITTEN: Timestamp = Timestamp::from_seconds(1_795_219_200);
/// Nodes that are dated further ahead are refused by peers.
const AHEAD: Duration = Duration::from_secs(300);
/// A certificate that ends within this time should have been renewed.
const EXPIRY_NEAR: Duration = Duration::from_secs(14 * 24 * 3600);
/// Connections without which a service is too small for its clients.
const CONNECTIONS_NEEDED: u64 = 1000;
/// Mode bits of group and others.
const OTHERS: u32 = 0o077;
/// Files that are named one by one.
const NAMED: usize = 3;

/// The certificate of its own port, where it speaks TLS.
pub(super) fn certificate(settings: &Settings, now: Timestamp, findings: &mut Findings) {
    let next = "put the new certificate and its key in place: a service that runs takes them by itself";
    match startup::check_tls(settings) {
        Ok(None) => {}
        Ok(Some(end)) if end <= now => {
            findings.fail(("certificate", "certificate_expired"), format!("expired on {}", end.to_rfc3339()), next);
        }
        Ok(Some(end)) if end <= now.plus(EXPIRY_NEAR) => {
            findings.warn(
                ("certificate", "certificate_expires_soon"),
                format!("expires on {}", end.to_rfc3339()),
                next,
            );
        }
        Ok(Some(end)) => findings.ok("certificate", format!("valid until {}", end.to_rfc3339())),
        Err(error) => findings.fail(
            ("certificate", "certificate_unusable"),
            error,
            "correct server.tls_certificate or server.tls_key",
        ),
    }
}

/// Who this instance is, and whether it can sign.
pub(super) fn identity(settings: &Settings, findings: &mut Findings) {
    match settings.node_id() {
        Ok(_) if settings.has_no_id_yet().unwrap_or(false) => {
            findings.ok("identity", format!("serve makes an id at its first start: {}…", id_prefix()));
        }
        Ok(id) => findings.ok("identity", format!("{id}, {}", settings.instance.instance_type.as_str())),
        Err(error) => {
            findings.fail(
                ("identity", "identity_invalid"),
                error,
                "set ARK_NODE_ID to 1 to 256 characters without control characters",
            );
        }
    }
    let locked = settings.instance.key_passphrase.is_none();
    match startup::load_key(settings) {
        Err(_) if locked && startup::key_place(settings).is_some_and(|place| place.is_encrypted().unwrap_or(false)) => {
            let next = "export ARK_KEY_PASSPHRASE_FILE=…, or start the service on a terminal, which asks";
            findings.warn(("key", "key_encrypted"), "it is encrypted, and its passphrase is not set here", next);
        }
        Ok(None) if settings.instance.public_key.is_some() => findings.warn(
            ("key", "key_public_only"),
            "ARK_FED_PUBKEY is set without its private key: this instance is a registry and exchanges with no peer",
            "set ARK_FED_PRIVKEY too, or unset ARK_FED_PUBKEY and restart the service, which makes a key then",
        ),
        Ok(None) => findings.ok(("key", "key_missing"), "there is none yet; serve makes one at its first start"),
        Ok(Some(key)) => match startup::public_key(settings, Some(&key)) {
            Ok(_) if is_revoked(settings) => {
                findings.fail(
                    ("key", "key_revoked"),
                    "it is revoked: no peer takes anything from it",
                    "ark-lattice key recover",
                );
            }
            Ok(_) => findings.ok("key", format!("its public key is {}", key.public_key())),
            Err(error) => findings.fail(("key", "key_other_public"), error, "unset ARK_FED_PUBKEY, or correct it"),
        },
        Err(error) => {
            let text = error.to_string();
            let next = match text.split_once("chmod ") {
                // A new key would be another identity, which no peer knows.
                Some((_, mode)) => format!("chmod {mode}"),
                None => "restore the key from a backup, or from its recovery words: ark-lattice key recover; a new key is a new identity: \
                         ark-lattice keygen"
                    .to_owned(),
            };
            findings.fail(("key", "key_unusable"), text, next);
        }
    }
    if settings.admin.token.is_some() {
        findings.ok("token", "the admin token is set");
    } else {
        findings.ok("token", "no admin token is set: administrative requests need the local token, on this machine");
    }
}

/// Peers that were added before, whose contents could be read on the way.
pub(super) fn plain_http(settings: &Settings, findings: &mut Findings) {
    let peers = startup::kept_plain_http_peers(settings);
    if peers.is_empty() {
        return;
    }
    let policy = settings.federation.plain_http.as_str();
    findings.warn(
        ("plain HTTP", "plain_http_peers"),
        format!("federation.plain_http is {policy}; peers at public addresses over http://: {}", peers.join(", ")),
        "add each again with https://, and remove it here with: ark-lattice federation remove-peer URL",
    );
}

/// The state directory: private, writable, and whose it is.
pub(super) fn state(settings: &Settings, findings: &mut Findings) {
    let path = &settings.state.path;
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            return findings.fail(
                ("state", "state_not_a_directory"),
                format!("{shown} is not a directory"),
                "set ARK_STATE_PATH to one",
            );
        }
        Err(_) => {
            let above = path.ancestors().skip(1).find(|above| above.is_dir() || above.as_os_str().is_empty());
            let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return match writable(above) {
                Ok(()) => {
                    findings.ok(("state", "state_missing"), format!("{shown} does not exist yet; serve makes it"));
                }
                Err(error) => findings.fail(
                    ("state", "state_unwritable"),
                    format!("{shown} does not exist and cannot be made: {error}"),
                    unwritable("ARK_STATE_PATH"),
                ),
            };
        }
    };
    match startup::missing_files(settings) {
        Ok(missing) => {
            for file in missing {
                findings.fail(("state", "state_file_missing"), file.problem(), file.next());
            }
        }
        Err(error) => findings.fail(("state", "state_list_unreadable"), error, "move that file away, as it says"),
    }
    if metadata.mode() & OTHERS != 0 {
        let found = format!("{shown} may be entered by others than its owner (mode {:o})", metadata.mode() & 0o7777);
        findings.warn(("state", "state_open_to_others"), found, format!("chmod 700 {shown}"));
    }
    match writable(path) {
        Ok(()) => {
            let used = if in_use(path) { "in use by a running service" } else { "free" };
            findings.ok("state", format!("{shown} is writable and {used}"));
        }
        Err(error) => {
            findings.fail(
                ("state", "state_unwritable"),
                format!("{shown} cannot be written: {error}"),
                unwritable("ARK_STATE_PATH"),
            );
        }
    }
    room(("state room", "state_room_little", "state_room_none"), path, findings);
}

/// The marker of the data directory: that of the lattice for which the journal is kept.
pub(super) fn marker(settings: &Settings, findings: &mut Findings) {
    if let Err(error) = startup::check_marker(settings) {
        let next = match in_use(&settings.state.path) {
            true => {
                "mount the right directory; or, if this is the right one, stop the service, then: ark-lattice adopt"
            }
            false => "mount the right directory; or, if this is the right one: ark-lattice adopt",
        };
        findings.fail(("marker", "marker_mismatch"), error, next);
    }
}

/// The data directory is served by the service of this state directory, or by none.
pub(super) fn one_service(settings: &Settings, findings: &mut Findings) {
    if in_use(&settings.state.path) || !startup::has_service(&settings.lattice.path) {
        return;
    }
    let found = format!("{} is served by a service with another state directory", settings.lattice.path.display());
    let next =
        "stop that service, name its state directory (ARK_STATE_PATH), or serve another directory (LATTICE_PATH)";
    findings.fail(("lattice", "lattice_in_use"), found, next);
}

/// The audit log: each entry follows from those before.
pub(super) fn audit(settings: &Settings, findings: &mut Findings) {
    let file = settings.state.path.join(startup::AUDIT_FILE);
    if !file.exists() {
        return;
    }
    if let Err(error) = ops::read_audit(&file) {
        let next = "see which entry: ark-lattice audit verify; restore the file from a backup of the state directory";
        findings.fail(("audit", "audit_damaged"), error, next);
    }
}

/// Whose changes are taken, with whom this instance exchanges, and who reaches it.
pub(super) fn mode(settings: &Settings, findings: &mut Findings) {
    let (trust, federation) = (settings.trust.mode.as_str(), settings.federation.mode.as_str());
    let auto = if settings.federation.auto_sync { "on" } else { "off" };
    findings.ok("mode", format!("trust {trust}, federation {federation}, auto-sync {auto} by the settings"));
    let host = &settings.server.host;
    let is_inner = |host: &str| host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let mut further = settings.further_listeners().unwrap_or_default().into_iter();
    if let Some((host, port)) = further.find(|(host, _)| !is_inner(host)) {
        let found = format!("server.also_listen: whoever reaches {host}:{port} of this machine reaches the service");
        return findings.ok("address", found);
    }
    if is_inner(host) {
        let next = "for others: ARK__SERVER__HOST=0.0.0.0, or a proxy";
        findings.ok("address", format!("{host}: only programs on this machine reach the service; {next}"));
    }
}

/// The data directory: there, writable, its files nodes, their dates not ahead.
pub(super) fn lattice(settings: &Settings, now: Timestamp, findings: &mut Findings) {
    let path = &settings.lattice.path;
    let opened = OfflineDirectory::open(path, settings.limits());
    let listing = match opened.and_then(|directory| directory.list().map(|listing| (directory, listing))) {
        Ok((directory, listing)) => {
            if let Some(found) = directory.foreign_manifest().filter(|_| settings.lattice.write_manifest) {
                findings.warn(
                    ("manifest", "foreign_manifest"),
                    found,
                    "export ARK__LATTICE__WRITE_MANIFEST=false, or move that file away",
                );
            }
            listing
        }
        Err(error) => {
            let next = format!("mkdir -p {}; or set LATTICE_PATH to the right one", path.display());
            return findings.fail(("lattice", "lattice_unreadable"), error, next);
        }
    };
    match writable_as_it_is(path) {
        Ok(()) => {
            findings.ok("lattice", format!("{} in {}", count(listing.nodes.len(), "node"), path.display()));
        }
        Err(error) => {
            let found = format!("{} cannot be written: {error}", path.display());
            findings.warn(("lattice", "lattice_unwritable"), found, unwritable("LATTICE_PATH"));
        }
    }
    files(&listing, now, findings);
    room(("lattice room", "lattice_room_little", "lattice_room_none"), path, findings);
    watches(findings);
}

fn files(listing: &Listing, now: Timestamp, findings: &mut Findings) {
    if !listing.broken.is_empty() {
        let named: Vec<&str> = listing.broken.iter().take(NAMED).map(|broken| broken.file.as_str()).collect();
        let files = count(listing.broken.len(), "broken file");
        let found = format!("{files}, such as {}: no content of theirs can be had", named.join(", "));
        findings.warn(("files", "broken_files"), found, "ark-lattice node verify names them; correct or remove them");
    }
    if !listing.unreadable_times.is_empty() {
        let (times, named) = (&listing.unreadable_times, listing.unreadable_times.iter().take(NAMED));
        let found = format!(
            "{} with an updated_at that cannot be read as a time, such as {}: when the file was changed counts",
            count(times.len(), "file"),
            named.map(String::as_str).collect::<Vec<_>>().join(", ")
        );
        findings.warn(
            ("times", "unreadable_times"),
            found,
            "write epoch seconds or ISO 8601; to list them: ark-lattice node verify",
        );
    }
    let ahead: Vec<&str> = listing
        .nodes
        .iter()
        .filter(|(_, node)| node.entry.updated_at.since(now) > AHEAD)
        .map(|(id, _)| id.as_str())
        .collect();
    if let Some(first) = ahead.first() {
        findings.warn(
            ("dates", "dates_ahead"),
            format!(
                "{} dated more than 5 minutes ahead, such as {first}: peers refuse them",
                count(ahead.len(), "node")
            ),
            "set the clock, and correct updated_at in those files, or date them now: ark-lattice node accept ID...",
        );
    }
}

/// What can be said of the clock without asking anybody.
pub(super) fn clock(now: Timestamp, findings: &mut Findings) {
    if now < WRITTEN {
        let found = format!("the clock says {}: it is wrong", now.to_rfc3339());
        findings.fail(("clock", "clock_wrong"), found, "set the clock, or let it be set: timedatectl set-ntp true");
    }
}

/// How many descriptors a service may have, against the connections that it would accept and its own files.
pub(super) fn descriptors(settings: &Settings, findings: &mut Findings) {
    // The service raises its own limit as far as it may.
    let Some(allowed) = getrlimit(Resource::Nofile).maximum else { return };
    let workers = match settings.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let wanted = u64::try_from(workers.saturating_mul(settings.server.max_connections)).unwrap_or(u64::MAX);
    let fits = startup::connections_within(allowed);
    if wanted <= fits {
        findings.ok("descriptors", format!("{allowed}, enough for {wanted} connections and the files of the service"));
        return;
    }
    // Nobody asked for the default bound, and the service keeps to what it may have.
    let is_default = settings.server.max_connections == ServerSettings::default().max_connections;
    if is_default && fits >= CONNECTIONS_NEEDED {
        findings.ok("descriptors", format!("{allowed}, enough for {fits} connections and the files of the service"));
        return;
    }
    let (own, needed) = (allowed.saturating_sub(fits), startup::descriptors_for(wanted));
    findings.warn(
        ("descriptors", "descriptors_few"),
        format!(
            "{allowed} open files are allowed: {own} for the files of the service, {fits} for connections, further ones are closed; \
             server.max_connections allows {wanted} ({workers} workers), which takes {needed}"
        ),
        format!(
            "ulimit -n {needed} as root in the shell that starts the service (systemd: LimitNOFILE={needed}, Docker: --ulimit \
             nofile={needed}), or lower server.max_connections"
        ),
    );
}

/// One watch is needed for the data directory; other programs may have used them up.
fn watches(findings: &mut Findings) {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok();
    let instances = read("max_user_instances").and_then(|text| text.trim().parse::<u64>().ok());
    if instances.is_some_and(|instances| instances < 16) {
        findings.warn(
            ("watches", "watches_few"),
            "few programs may watch files here: edits may be seen by the regular scan only",
            "sysctl fs.inotify.max_user_instances=128",
        );
    }
}

/// The room at `path`; the codes are those of little and of no room.
fn room((check, little, none): (&'static str, &'static str, &'static str), path: &Path, findings: &mut Findings) {
    let Ok(system) = statvfs(path) else { return };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let found = format!("{} free at {}", size(free), path.display());
    let next = "make room, or move the directory; writes are refused with 507 once the disk is full";
    if free < ROOM_NEEDED {
        findings.fail((check, none), found, next);
    } else if free < ROOM_WANTED {
        findings.warn((check, little), found, next);
    } else {
        findings.ok(check, found);
    }
    // Some file systems make inodes as they go, and say that they have none.
    if system.f_files > 0 && system.f_favail < 1000 {
        findings.fail(
            (check, none),
            format!("{} files can still be made at {}", system.f_favail, path.display()),
            next,
        );
    }
}

/// Whether a file can be made there; it has no name and is gone at once.
fn writable(path: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(path).map(drop)
}

/// Whether a file can be made in the data directory, without making one with a name: that would change the time of the directory, by which
/// a start recognises one that was restored from a backup.
fn writable_as_it_is(path: &Path) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{
            fs::{Mode, OFlags, open},
            io::Errno,
        };
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match open(path, flags, Mode::RUSR | Mode::WUSR) {
            // The file system has no files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {}
            made => return Ok(made.map(drop)?),
        }
    }
    Ok(access(path, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// A service holds the lock.
pub(super) fn in_use(path: &Path) -> bool {
    let Ok(lock) = fs::File::open(path.join("lock")) else { return false };
    matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

fn unwritable(variable: &str) -> String {
    format!("give this user the right to write there, or set {variable} to another directory")
}

/// Did the key's owner revoke it?
fn is_revoked(settings: &Settings) -> bool {
    startup::key_place(settings).is_some_and(|place| matches!(place.shown(), Ok(Some(shown)) if shown.revoked))
}
