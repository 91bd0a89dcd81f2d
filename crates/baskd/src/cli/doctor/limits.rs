//! What the machine and the session allow.

use std::fs;

use baskd::config::Settings;
use rustix::process::{Resource, getrlimit};

use super::finding::{Finding, Findings};

/// Handles of processes (pidfd) are waited for by what the daemon uses of this kernel.
const OLDEST_KERNEL: (u32, u32) = (5, 4);
/// As `serve` reckons: for itself and Python, and for each connection.
const OWN_DESCRIPTORS: u64 = 40;
const A_CONNECTIONS_DESCRIPTORS: u64 = 3;

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut found = Findings::of("limits");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match kernel(&release) {
        Some(version) if version < OLDEST_KERNEL => found.problem(
            format!("Linux {release} is too old: baskd needs 5.4 or newer"),
            "update the system",
        ),
        _ => found.good(format!("Linux {release}")),
    }

    // The daemon raises its own limit as far as it may.
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let connections = hard.saturating_sub(OWN_DESCRIPTORS) / A_CONNECTIONS_DESCRIPTORS;
    let wanted = settings.limits.max_connections as u64;
    match connections < wanted {
        true => found.warning(
            format!("{hard} open files are allowed, enough for {connections} connections of the {wanted} that `max_connections` allows"),
            "raise it (`ulimit -Hn`, LimitNOFILE= of the unit), or set `max_connections` lower",
        ),
        false => found.good(format!("{hard} open files, enough for {wanted} connections")),
    }

    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let wanted = (settings.limits.max_rss as u64).saturating_mul(settings.workers as u64 + u64::from(settings.standby));
    if let Some(memory) = memory.filter(|memory| wanted > *memory) {
        found.warning(
            format!(
                "`max_rss` allows the Pythons {} MiB together, and the machine has {}",
                wanted >> 20,
                memory >> 20
            ),
            "set `max_rss` or `workers` lower, or a Python is killed for want of memory before it is replaced",
        );
    }
    found.all()
}

fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `MemTotal:       16384 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_own_words_are_read() {
        assert_eq!(kernel("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel("5.15.153.1-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(kernel("unknown"), None);
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
    }
}
