//! The memory that this process may take, and the bounds that follow it: with those of a large machine, four requests end a service in a
//! container of 64 MB.

use super::{LimitSettings, Settings};
use std::path::{Path, PathBuf};

/// What a service takes by itself, with ten thousand nodes.
const OWN_BYTES: u64 = 40 << 20;
/// A body of `/sync` that is read costs so many times its length at most.
const COST_OF_BODY: u64 = 8;
/// Nodes and bodies are not bounded below it, however small the machine.
const LEAST_BODY: u64 = 512 << 10;
/// Around the nodes of a body.
const AROUND_NODES: u64 = 64 << 10;

const CGROUPS: &str = "/sys/fs/cgroup";

/// What the control groups of this process and the machine allow, the smaller.
pub(super) fn limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = limit_of_groups(&groups, |path| std::fs::read_to_string(path).ok());
    of_groups.into_iter().chain(machine()).min()
}

#[cfg(target_os = "linux")]
fn machine() -> Option<u64> {
    let info = rustix::system::sysinfo();
    let (total, unit): (u64, u64) = (info.totalram, info.mem_unit.into());
    Some(total.saturating_mul(unit)).filter(|bytes| *bytes > 0)
}

#[cfg(not(target_os = "linux"))]
fn machine() -> Option<u64> {
    None
}

/// The least limit of the groups in `/proc/self/cgroup` and of those above them. In a container its own group is mounted as the root.
fn limit_of_groups(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut files =
        vec![PathBuf::from(CGROUPS).join("memory.max"), Path::new(CGROUPS).join("memory/memory.limit_in_bytes")];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => (PathBuf::from(CGROUPS), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (Path::new(CGROUPS).join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let above = Path::new(path.trim_start_matches('/')).ancestors().map(|group| root.join(group).join(file));
        files.extend(above);
    }
    // `max`, and a number that no machine has: no limit.
    files.iter().filter_map(|file| read(file)?.trim().parse().ok()).min()
}

impl Settings {
    /// Bounds that nobody set follow the memory.
    pub(super) fn follow_memory(&mut self, memory: Option<u64>) {
        let Some(memory) = memory else { return };
        let usual = LimitSettings::default();
        let usable = memory.saturating_sub(OWN_BYTES).max(memory / 4);
        let pool = to_size(usable / 4);
        let body = (usable / COST_OF_BODY).max(LEAST_BODY);
        let node = to_size(body.saturating_sub(AROUND_NODES));
        let limits = &mut self.limits;
        let mut follows = false;
        let mut follow = |set: &mut usize, usual: usize, most: usize| {
            if *set == usual && most < usual {
                *set = most;
                follows = true;
            }
        };
        follow(&mut limits.inflight_bytes, usual.inflight_bytes, pool.max(1 << 20));
        follow(&mut limits.answer_bytes, usual.answer_bytes, pool.max(1 << 20));
        follow(&mut limits.sync_bytes, usual.sync_bytes, to_size(body));
        follow(&mut limits.manifest_bytes, usual.manifest_bytes, to_size(body));
        follow(&mut limits.node_bytes, usual.node_bytes, node);
        if follows {
            self.memory_note = Some(format!(
                "this process may take {} MiB of memory: limits.inflight_bytes is {}, answer_bytes {}, sync_bytes {}, manifest_bytes {}, \
                 node_bytes {}",
                memory >> 20,
                limits.inflight_bytes,
                limits.answer_bytes,
                limits.sync_bytes,
                limits.manifest_bytes,
                limits.node_bytes
            ));
        }
        let taken = limits.inflight_bytes.saturating_add(limits.inflight_bytes / 2).saturating_add(limits.answer_bytes);
        if u64::try_from(taken).unwrap_or(u64::MAX) > memory {
            self.warnings.push(format!(
                "limits.inflight_bytes and limits.answer_bytes let requests take {} MiB, and this process may take {} MiB in all: requests \
                 could end it; without these settings the bounds follow the memory",
                taken >> 20,
                memory >> 20
            ));
        }
    }
}

fn to_size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn limit_of(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let files: HashMap<PathBuf, String> =
            files.iter().map(|(path, text)| (Path::new(CGROUPS).join(path), (*text).to_owned())).collect();
        limit_of_groups(groups, |path| files.get(path).cloned())
    }

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        assert_eq!(limit_of("", &[]), None);
        assert_eq!(limit_of("0::/\n", &[("memory.max", "67108864\n")]), Some(64 << 20));
        let service = "0::/system.slice/ark-lattice.service\n";
        assert_eq!(limit_of(service, &[("system.slice/ark-lattice.service/memory.max", "max\n")]), None);
        let slice = [("system.slice/memory.max", "1000\n"), ("system.slice/ark-lattice.service/memory.max", "2000\n")];
        assert_eq!(limit_of(service, &slice), Some(1000));
        let old = "9:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n";
        assert_eq!(limit_of(old, &[("memory/docker/a/memory.limit_in_bytes", "5000\n")]), Some(5000));
        assert_eq!(limit_of(old, &[("memory/memory.limit_in_bytes", "6000\n")]), Some(6000));
        assert_eq!(limit_of("rubbish\n:\n0:\n", &[("memory.max", "many")]), None);
    }

    #[test]
    fn bounds_follow_a_small_memory_and_settings_go_before() {
        let with = |memory: u64| {
            let mut settings = Settings::default();
            settings.follow_memory(Some(memory));
            assert_eq!(settings.warnings, Vec::<String>::new());
            settings.limits
        };
        let (large, usual) = (with(8 << 30), LimitSettings::default());
        assert_eq!((large.inflight_bytes, large.answer_bytes), (usual.inflight_bytes, usual.answer_bytes));
        assert_eq!((large.sync_bytes, large.node_bytes), (usual.sync_bytes, usual.node_bytes));
        for mebibytes in [16_u64, 32, 64, 128, 512, 1024] {
            let (limits, memory) = (with(mebibytes << 20), to_size(mebibytes << 20));
            let pools = limits.inflight_bytes + limits.inflight_bytes / 2 + limits.answer_bytes;
            assert!(pools <= memory, "{mebibytes}: {limits:?}");
            assert!(limits.node_bytes < limits.sync_bytes && limits.node_bytes > 256 << 10, "{mebibytes}: {limits:?}");
        }
        let small = with(64 << 20);
        assert_eq!(
            (small.inflight_bytes, small.sync_bytes, small.node_bytes),
            (6 << 20, 3 << 20, (3 << 20) - (64 << 10))
        );

        let mut settings = Settings::default();
        settings.limits.inflight_bytes = 100 << 20;
        settings.follow_memory(Some(64 << 20));
        assert_eq!(settings.limits.inflight_bytes, 100 << 20);
        assert!(
            settings.warnings[0].contains("156 MiB") && settings.warnings[0].contains("64 MiB"),
            "{:?}",
            settings.warnings
        );
    }
}
