//! The corpus of a fuzz target, gone through on stable.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Checks a property of everything that tests/fuzz/corpus keeps for a target.
pub(crate) fn corpus(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        let held = catch_unwind(AssertUnwindSafe(|| property(&data)));
        assert!(held.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 20, "{} is nearly empty", folder.display());
}
