//! How much memory this process may still take.

use std::{fs, path::Path};

/// Bytes that can be allocated without swapping: `MemAvailable`, which counts the page cache as
/// free, or what is left of a cgroup's limit (version 1 or 2) if that is less. `None` where the
/// system does not say.
pub(crate) fn available_memory() -> Option<u64> {
    read_available(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
}

fn read_available(proc: &Path, cgroups: &Path) -> Option<u64> {
    let machine = fs::read_to_string(proc.join("meminfo")).ok().and_then(|text| {
        // In kB, which here means 1024 bytes.
        field(&text, "MemAvailable:").and_then(|kib: u64| kib.checked_mul(1024))
    });
    let groups = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| left_in_group(line, cgroups));
    machine.into_iter().chain(limits).min()
}

/// What the groups of one line of `/proc/self/cgroup` leave: the tightest one on the way up.
fn left_in_group(line: &str, cgroups: &Path) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (root, names) = if id == "0" && controllers.is_empty() {
        (cgroups.to_owned(), ["memory.max", "memory.current", "inactive_file"])
    } else if controllers.split(',').any(|c| c == "memory") {
        let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
        (cgroups.join("memory"), names)
    } else {
        return None;
    };
    let group = Path::new(path.trim_start_matches('/'));
    // Inside a container the path may be the host's, of which only the root is mounted here.
    group.ancestors().filter_map(|group| left_at(&root.join(group), names)).min()
}

fn left_at(group: &Path, [limit, usage, cache]: [&str; 3]) -> Option<u64> {
    let number = |name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // No limit reads "max" in version 2, which is no number, and a huge number in version 1.
    let (limit, usage) = (number(limit)?, number(usage)?);
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let used = usage.saturating_sub(field(&stat, cache).unwrap_or(0));
    Some(limit.saturating_sub(used))
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_tightest_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (proc, cgroups) = (dir.path().join("proc"), dir.path().join("cgroup"));
        let read = || read_available(&proc, &cgroups);
        assert_eq!(read(), None);
        write(&proc, "meminfo", "MemTotal: 900 kB\nMemFree: 1 kB\nMemAvailable:   500 kB\n");
        assert_eq!(read(), Some(500 << 10));
        write(&proc, "self/cgroup", "0::/a/b\n");
        write(&cgroups, "a/b/memory.max", "max\n");
        write(&cgroups, "a/b/memory.current", "1000\n");
        assert_eq!(read(), Some(500 << 10));
        write(&cgroups, "a/memory.max", "300000\n");
        write(&cgroups, "a/memory.current", "200000\n");
        write(&cgroups, "a/memory.stat", "anon 1\ninactive_file 50000\n");
        assert_eq!(read(), Some(150_000));
        write(&proc, "self/cgroup", "5:cpu,memory:/x\n3:pids:/x\n");
        write(&cgroups, "memory/x/memory.limit_in_bytes", "1000");
        write(&cgroups, "memory/x/memory.usage_in_bytes", "2000");
        assert_eq!(read(), Some(0));
    }

    #[test]
    fn this_machine_says() {
        if cfg!(target_os = "linux") {
            assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
