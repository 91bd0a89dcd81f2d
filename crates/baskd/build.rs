//! Puts the router's files into the binary, so that one file is the whole installation.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // A link to the repository's `python/`; `cargo package` puts the files it points to in its place.
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("python");
    let mut files = Vec::new();
    for name in ["index.py", "router.py", "basecontroller.py", "controller.py"] {
        files.push(root.join(name));
    }
    collect(&root.join("baskd"), &mut files)?;
    files.sort();

    let mut list = String::from("pub(crate) const FILES: &[(&str, &str)] = &[\n");
    // FNV-1a: it tells versions of the router apart, nothing more is asked of it.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in &files {
        // The files, not their folder: cargo would build anew for each cache that a linter or a Python leaves in there.
        // A file that is new is imported by one that has changed.
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file
            .strip_prefix(&root)
            .map_err(io::Error::other)?
            .display()
            .to_string();
        let path = fs::canonicalize(file)?;
        for byte in name.bytes().chain(fs::read(file)?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        writeln!(list, "    ({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    writeln!(list, "];\npub(crate) const HASH: &str = \"{hash:016x}\";").map_err(io::Error::other)?;
    fs::write(
        Path::new(&env::var("OUT_DIR").map_err(io::Error::other)?).join("router_files.rs"),
        list,
    )
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("__pycache__") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "py") {
            files.push(path);
        }
    }
    Ok(())
}
