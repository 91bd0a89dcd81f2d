//! The log of a daemon in the background: a file that is kept short while it is written.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How long the file may become, and how much of its end is left then.
const LONGEST: u64 = 1 << 20;
const LEFT: u64 = LONGEST / 2;

/// A file that is open for appending, as others may have it, too.
pub(crate) struct ShortFile {
    /// None: it is no file after all, and nothing is known of its length.
    file: Option<File>,
}

impl ShortFile {
    /// What stderr is.
    pub(crate) fn stderr() -> ShortFile {
        ShortFile::of(Path::new("/proc/self/fd/2"))
    }

    fn of(path: &Path) -> ShortFile {
        let is_file = path.metadata().is_ok_and(|found| found.is_file());
        let mut options = File::options();
        let file = is_file.then(|| options.read(true).append(true).open(path).ok());
        ShortFile { file: file.flatten() }
    }
}

impl Write for ShortFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else {
            return io::stderr().write(line);
        };
        let length = file.metadata()?.len();
        if length + line.len() as u64 > LONGEST {
            shorten(file, length)?;
        }
        file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Leaves the last lines. What another writes at this very moment may be lost.
fn shorten(file: &mut File, length: u64) -> io::Result<()> {
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(LEFT)))?;
    Read::by_ref(file).take(LONGEST).read_to_end(&mut end)?;
    let first_line = end
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(end.len(), |at| at + 1);
    file.set_len(0)?;
    file.write_all(&end[first_line..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "what was there\n").unwrap();
        let mut log = ShortFile::of(&path);
        let mut longest = 0;
        for number in 0..50_000 {
            log.write_all(format!("line {number:05}, which is one of many that are alike\n").as_bytes())
                .unwrap();
            longest = longest.max(path.metadata().unwrap().len());
        }
        assert!(longest <= LONGEST && longest > LONGEST - 100, "{longest}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() as u64 >= LEFT - 100);
        let numbers: Vec<usize> = text.lines().map(|line| line[5..10].parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]));
        assert_eq!(numbers.last(), Some(&49_999));
    }
}
