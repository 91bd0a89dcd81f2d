//! Whether an interpreter can run, and why not.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::surroundings::ask;
use super::versions::{Version, by_name};

/// More links than anybody makes.
const MOST_LINKS: usize = 20;

/// What is plainly wrong with a file that is there, to the end of a sentence that began with its path.
pub(super) fn wrong(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.permissions().mode() & 0o111 == 0).then(|| {
        format!(
            "is not executable: `chmod +x {}`, if it is an interpreter",
            path.display()
        )
    })
}

/// Where a link leads nowhere: what is missing, and how that is mended.
pub(super) fn broken_link(path: &Path) -> Option<String> {
    if path.exists() {
        return None;
    }
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&at) else {
            // The first that is no link is what is missing; the path itself, and there is no link.
            return (at != path).then(|| format!("is a link to {}, which is not there: {}", at.display(), anew(path)));
        };
        at = at.parent().unwrap_or(Path::new("/")).join(target);
    }
    Some(format!("is a link that leads to itself: {}", anew(path)))
}

/// How a venv is made anew, or whatever it is.
fn anew(path: &Path) -> String {
    match venv_of(path) {
        Some(venv) => format!(
            "the venv was moved here from elsewhere, or its Python was removed. Make it anew: `uv sync`, or `python3 -m venv --clear {}` and its packages",
            venv.display()
        ),
        None => "pass --python with an interpreter that is".to_owned(),
    }
}

/// The venv that an interpreter is of.
fn venv_of(python: &Path) -> Option<PathBuf> {
    let folder = python.parent()?.parent()?;
    folder.join("pyvenv.cfg").is_file().then(|| folder.to_owned())
}

/// Whether what is installed there is for it alone: a venv, or an environment of conda's.
pub(super) fn is_in_venv(python: &Path) -> bool {
    let conda = || {
        python
            .parent()?
            .parent()
            .map(|folder| folder.join("conda-meta").is_dir())
    };
    venv_of(python).is_some() || conda().unwrap_or(false)
}

/// Its version, by what its venv says, or by the name of the file that it is. None where neither tells: it is not run for
/// that, since a daemon that takes its time before it listens comes up in the place of one that it should have found.
pub(super) fn version(path: &Path) -> Option<Version> {
    let by_venv = || {
        let text = fs::read_to_string(venv_of(path)?.join("pyvenv.cfg")).ok()?;
        let (_, version) = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| ["version", "version_info"].contains(&key.trim()))?;
        Version::parse(version)
    };
    by_venv().or_else(|| by_name(path.canonicalize().ok()?.file_name()?.to_str()?))
}

/// The same, and where neither tells it is asked.
pub(super) fn version_by_asking(path: &Path) -> Option<Version> {
    let code = "import sys; print('%d.%d.%d' % sys.version_info[:3])";
    let asked = || Version::parse(&ask(path, ["-S", "-E", "-c", code]).ok()?);
    version(path).or_else(asked)
}

/// Why `path` could not be started, which `error` says in the kernel's words; and the remedy.
pub(crate) fn why_not(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        // The kernel does not know its format.
        _ if Errno::from_io_error(error) == Some(Errno::NOEXEC) => foreign(path),
        ErrorKind::NotFound if path.is_file() => lacks(path),
        ErrorKind::NotFound => match broken_link(path) {
            Some(what) => Some(format!("it {what}")),
            None => Some("it was there when the daemon was started: make the venv anew, or start the daemon anew".to_owned()),
        },
        ErrorKind::PermissionDenied => Some(match wrong(path) {
            Some(what) => format!("it {what}"),
            None => "it may not be run: by the rights of a folder above it, or since it is on a file system that was mounted `noexec`".to_owned(),
        }),
        _ => None,
    };
    match remedy {
        Some(remedy) => format!("{} can't be started: {error}; {remedy}", path.display()),
        None => format!("{} can't be started: {error}", path.display()),
    }
}

/// What a file is that was started and is no interpreter for this machine: libc hands what the kernel does not know to a shell,
/// which says something else. It is looked at only when it has ended, since the kernel may have been taught to run it.
pub(crate) fn what_else(path: &Path) -> Option<String> {
    let start = start_of(path)?;
    let [theirs, ours] =
        [Some(start.as_slice()), start_of(Path::new("/proc/self/exe")).as_deref()].map(|start| start.and_then(machine));
    let runs_here = start.starts_with(b"#!") || theirs.is_some() && theirs == ours;
    (!runs_here).then(|| foreign(path)).flatten()
}

/// What a program that is there lacks.
fn lacks(path: &Path) -> Option<String> {
    let start = start_of(path)?;
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let interpreter = String::from_utf8_lossy(line);
        let interpreter = interpreter.split_whitespace().next()?;
        return Some(format!(
            "it is a script for {interpreter}, which is not there: {}",
            anew(path)
        ));
    }
    Some(
        "the loader that it was linked for is not there: it was made for another system. Use one of this system"
            .to_owned(),
    )
}

/// What kind of file the kernel does not know.
fn foreign(path: &Path) -> Option<String> {
    let [theirs, ours] = [path, Path::new("/proc/self/exe")].map(|path| machine(&start_of(path)?));
    Some(match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => format!(
            "it was made for {}, and this machine runs {}: install a Python for this one, and make the venv anew",
            name(theirs),
            name(ours)
        ),
        (Some(_), _) => "it is damaged: install it anew".to_owned(),
        (None, _) => "it is no program: pass --python with an interpreter, or the folder of a venv".to_owned(),
    })
}

fn start_of(path: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    fs::File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    Some(start)
}

/// The machine that an ELF file is for, by its number there. Both are little-endian on all machines that this runs on; one
/// that is not is another one.
fn machine(start: &[u8]) -> Option<u16> {
    let number = start.starts_with(b"\x7fELF").then(|| start.get(18..20))??;
    Some(u16::from_le_bytes(number.try_into().ok()?))
}

fn name(machine: u16) -> String {
    match machine {
        3 => "x86 (32 bits)".to_owned(),
        40 => "arm (32 bits)".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv".to_owned(),
        other => format!("machine {other}"),
    }
}
