//! The Pythons of this machine, by their versions.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::surroundings::Surroundings;

/// As much of a version as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) micro: Option<u32>,
}

impl Version {
    pub(super) const fn minor(major: u32, minor: u32) -> Version {
        Version {
            major,
            minor,
            micro: None,
        }
    }

    /// `3.12`, `3.12.4`; of `3.13.0rc1` the numbers count.
    pub(super) fn parse(text: &str) -> Option<Version> {
        let mut parts = text.trim().split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let micro = parts.next().and_then(|part| {
            let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().ok()
        });
        Some(Version { major, minor, micro })
    }

    /// Whether it is what `other`, which may say less, names.
    fn is(self, other: Version) -> bool {
        let alike = other.micro.is_none() || self.micro.is_none() || self.micro == other.micro;
        (self.major, self.minor) == (other.major, other.minor) && alike
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)?;
        match self.micro {
            Some(micro) => write!(out, ".{micro}"),
            None => Ok(()),
        }
    }
}

pub(super) struct Candidate {
    pub(super) version: Version,
    pub(super) path: PathBuf,
    /// As `python3.12 on the PATH`.
    pub(super) found: String,
}

/// All that are known by their versions, the newest first; of two alike that on the PATH.
pub(super) fn all(around: &Surroundings) -> Vec<Candidate> {
    let mut all = on_path(around);
    for (whose, folder) in [
        ("pyenv's", &around.pyenv.as_ref().map(|pyenv| pyenv.join("versions"))),
        ("uv's", &around.uv_pythons),
    ] {
        all.extend(folder.iter().flat_map(|folder| installed(whose, folder)));
    }
    all.sort_by_key(|candidate| {
        let version = candidate.version;
        let is_elsewhere = version.micro.is_some();
        (
            std::cmp::Reverse((version.major, version.minor)),
            is_elsewhere,
            std::cmp::Reverse(version.micro),
        )
    });
    all
}

/// `python3.N`. pyenv's shims are passed over: those of versions that are not chosen do nothing but complain, and the
/// versions themselves are found where they are.
fn on_path(around: &Surroundings) -> Vec<Candidate> {
    let folders = around.path_folders();
    let names = folders
        .iter()
        .filter(|folder| !around.is_shims(folder))
        .flat_map(|folder| entries(folder));
    let mut found: Vec<Candidate> = Vec::new();
    for path in names {
        let version = path.file_name().and_then(|name| by_name(name.to_str()?));
        if let Some(version) = version
            && path.is_file()
            && !found.iter().any(|other| other.version == version)
        {
            let found_as = format!("python{version} on the PATH");
            found.push(Candidate {
                version,
                path,
                found: found_as,
            });
        }
    }
    found
}

/// The version that a program of that name is: `python3.12`.
pub(super) fn by_name(name: &str) -> Option<Version> {
    let version = name.strip_prefix("python")?;
    let is_plain = version.chars().all(|letter| letter.is_ascii_digit() || letter == '.');
    Version::parse(version).filter(|_| is_plain)
}

/// Those in folders that are named after their versions: `3.12.4`, `cpython-3.12.4-linux-x86_64-gnu`.
fn installed(whose: &str, folder: &Path) -> Vec<Candidate> {
    let versions = entries(folder).into_iter().filter_map(|folder| {
        let name = folder.file_name()?.to_str()?;
        let name = name.strip_prefix("cpython-").unwrap_or(name);
        let version = Version::parse(name.split('-').next()?)?;
        let path = folder.join("bin/python3");
        let found = format!("{whose} {version}");
        // A link of uv's names the minor version, and is there beside the folder of the whole one.
        (version.micro.is_some() && path.is_file()).then_some(Candidate { version, path, found })
    });
    versions.collect()
}

/// What a `.python-version` chooses: its first line that says something.
pub(super) fn chosen(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Some(line.to_owned())
}

/// The interpreter that such a line means, and whose it is: a version, or the name of one of pyenv's environments.
pub(super) fn named(around: &Surroundings, name: &str) -> Option<(PathBuf, String)> {
    let folder_of_that_name = || {
        let folder = around.pyenv.as_ref()?.join("versions").join(name);
        let path = folder.join("bin/python");
        (!name.contains('/') && path.is_file()).then(|| (path, "pyenv's".to_owned()))
    };
    let wanted = name
        .strip_prefix("cpython")
        .map_or(name, |rest| rest.trim_start_matches(['-', '@']));
    let by_version = || {
        let wanted = Version::parse(wanted)?;
        let candidate = all(around).into_iter().find(|candidate| candidate.version.is(wanted))?;
        Some((candidate.path, candidate.found))
    };
    folder_of_that_name().or_else(by_version)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    entries.sort();
    entries
}
