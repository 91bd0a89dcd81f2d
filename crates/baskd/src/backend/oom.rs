//! Was it the kernel that killed a process, for want of memory?
//!
//! A process's end tells no more than SIGKILL. But the kernel counts, in each memory cgroup, how many processes of it were
//! killed so, and it counts before it kills. Python is in the daemon's own cgroup: if the count is higher at its death
//! than it was at its start, by a kill that no other death has explained, that was it. A kill of one of Python's own
//! children is counted alike, and so taken for Python's if somebody then kills Python by SIGKILL, too.
//!
//! Where there is no such count, nothing is claimed.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

/// The kills that were counted, and those of them that are explained. One for all processes of a daemon.
#[derive(Debug)]
pub(crate) struct Kills {
    proc: PathBuf,
    explained: Cell<u64>,
}

/// What was counted when a process was started.
#[derive(Debug)]
pub(crate) struct Before {
    /// Where it is counted. The daemon may be moved later; a process stays where it was started.
    file: PathBuf,
    unexplained: u64,
}

impl Kills {
    /// `proc`: the folder of the process that asks, `/proc/self`.
    pub(crate) fn told_by(proc: &Path) -> Kills {
        Kills {
            proc: proc.to_owned(),
            explained: Cell::new(0),
        }
    }

    /// To be asked right before a process is started. None where nothing is counted.
    pub(crate) fn before(&self) -> Option<Before> {
        let read = |name: &str| fs::read_to_string(self.proc.join(name)).ok();
        let file = counter(&read("cgroup")?, &read("mountinfo")?)?;
        let count = count(&fs::read_to_string(&file).ok()?)?;
        Some(Before {
            file,
            unexplained: count.saturating_sub(self.explained.get()),
        })
    }

    /// Whether a process that has died by SIGKILL died of this. To be asked once of each.
    pub(crate) fn explain(&self, before: &Before) -> bool {
        let now = fs::read_to_string(&before.file).ok().and_then(|text| count(&text));
        let unexplained = now.unwrap_or_default().saturating_sub(self.explained.get());
        let is_one = unexplained > before.unexplained;
        self.explained.set(self.explained.get() + u64::from(is_one));
        is_one
    }
}

/// The file that counts the kills in the memory cgroup of a process, by its `cgroup` and `mountinfo`.
fn counter(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    // `4:memory:/path` of the first version, else `0::/path` of the second.
    let fields = |line: &'_ str| -> Option<(String, String)> {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    let groups: Vec<_> = cgroup.lines().filter_map(fields).collect();
    let first = groups
        .iter()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "memory"));
    if let Some((_, path)) = first {
        let folder = folder(mountinfo, path, |kind, options| {
            kind == "cgroup" && options.split(',').any(|option| option == "memory")
        })?;
        return Some(folder.join("memory.oom_control"));
    }
    let (_, path) = groups.iter().find(|(controllers, _)| controllers.is_empty())?;
    let folder = folder(mountinfo, path, |kind, _| kind == "cgroup2")?;
    // Without the groups below it, where the kernel tells them apart (5.2).
    let own = folder.join("memory.events.local");
    Some(if own.exists() {
        own
    } else {
        folder.join("memory.events")
    })
}

/// Where a cgroup's folder is, below the mount that `is_it` knows by its type and its options.
fn folder(mountinfo: &str, cgroup: &str, is_it: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    for line in mountinfo.lines() {
        let Some((mount, of)) = line.split_once(" - ") else {
            continue;
        };
        let mount: Vec<_> = mount.split(' ').collect();
        let of: Vec<_> = of.split(' ').collect();
        let (Some(root), Some(point), Some(kind), Some(options)) = (mount.get(3), mount.get(4), of.first(), of.get(2))
        else {
            continue;
        };
        if !is_it(kind, options) {
            continue;
        }
        // In a container, what is mounted is its own group, and the path may still be told from the machine's root.
        let below = Path::new(cgroup).strip_prefix(root).unwrap_or(Path::new(""));
        return Some(Path::new(point).join(below));
    }
    None
}

/// The line `oom_kill N`, of either version's file.
fn count(text: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "31 23 0:28 / /proc rw - proc proc rw\n\
                      35 25 0:31 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "34 31 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                          35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_count_is_where_the_daemon_is() {
        for (cgroup, mountinfo, file) in [
            (
                "0::/user.slice/user-1000.slice/a:b.service\n",
                V2,
                "/sys/fs/cgroup/user.slice/user-1000.slice/a:b.service/memory.events",
            ),
            (
                "9:name=systemd:/\n4:cpu,memory:/box/1\n0::/\n",
                HYBRID,
                "/sys/fs/cgroup/memory/box/1/memory.oom_control",
            ),
            // A container that sees its own group only, with the path as the machine tells it.
            (
                "4:memory:/docker/1f\n",
                "35 31 0:32 /docker/1f /sys/fs/cgroup/memory ro master:7 - cgroup cgroup rw,memory\n",
                "/sys/fs/cgroup/memory/memory.oom_control",
            ),
            (
                "4:memory:/docker/1f/sub\n",
                "35 31 0:32 /docker/1f /m ro - cgroup cgroup rw,memory\n",
                "/m/sub/memory.oom_control",
            ),
            (
                "0::/../other\n",
                "35 25 0:31 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
                "/sys/fs/cgroup/memory.events",
            ),
        ] {
            assert_eq!(counter(cgroup, mountinfo), Some(file.into()), "{cgroup}");
        }
        for (cgroup, mountinfo) in [
            ("", V2),
            ("0::/a\n", ""),
            ("4:memory:/a\n", V2),
            ("nonsense\n", "nonsense - x\n"),
        ] {
            assert_eq!(counter(cgroup, mountinfo), None, "{cgroup}");
        }
    }

    #[test]
    fn either_versions_file_is_read() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(
            count("low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n"),
            Some(1)
        );
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\n"), None);
        assert_eq!(count("oom_kill many\n"), None);
    }

    /// A folder that stands for `/proc/self` and for a cgroup.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Machine {
            let machine = Machine(tempfile::tempdir().unwrap());
            let mount = format!("35 25 0:31 / {} rw - cgroup2 cgroup2 rw\n", machine.0.path().display());
            machine.write("mountinfo", &mount);
            machine.write("cgroup", "0::/\n");
            machine.kills(0);
            machine
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.0.path().join(name), text).unwrap();
        }

        fn kills(&self, count: u64) {
            self.write("memory.events.local", &format!("oom 0\noom_kill {count}\n"));
        }

        fn told(&self) -> Kills {
            Kills::told_by(self.0.path())
        }
    }

    #[test]
    fn a_kill_explains_one_death() {
        let machine = Machine::new();
        machine.kills(5);
        let kills = machine.told();
        let (one, other) = (kills.before().unwrap(), kills.before().unwrap());
        assert!(!kills.explain(&one), "nothing was counted since");
        machine.kills(6);
        assert!(kills.explain(&one));
        assert!(!kills.explain(&other), "it was the other one that the kernel killed");
        let next = kills.before().unwrap();
        assert!(!kills.explain(&next));
        machine.kills(8);
        let late = kills.before().unwrap();
        assert!(kills.explain(&next) && kills.explain(&other));
        assert!(!kills.explain(&late));
    }

    #[test]
    fn where_nothing_is_counted_nothing_is_claimed() {
        let machine = Machine::new();
        let kills = machine.told();
        let before = kills.before().unwrap();
        fs::remove_file(machine.0.path().join("memory.events.local")).unwrap();
        assert!(!kills.explain(&before));
        assert!(kills.before().is_none());
        machine.write("memory.events", "oom_kill 0\n");
        assert!(kills.before().is_some());
        assert!(Kills::told_by(Path::new("/nowhere")).before().is_none());
    }

    #[test]
    fn this_machine_can_be_asked() {
        // Whatever it has: it is read without harm.
        if let Some(before) = Kills::told_by(Path::new("/proc/self")).before() {
            assert!(before.file.is_absolute());
        }
    }
}
