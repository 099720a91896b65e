//! The files of `static/`, inside the binary. A debug build reads them from the disk, so that a reload of the page shows
//! what was changed.

use std::borrow::Cow;
use std::path::{Component, Path};

/// By name, in the order of names; made by `build.rs`.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/static_files.rs"));

pub(super) fn find(name: &str) -> Option<Cow<'static, [u8]>> {
    if cfg!(debug_assertions) {
        read(name).map(Cow::Owned)
    } else {
        embedded(name).map(Cow::Borrowed)
    }
}

fn embedded(name: &str) -> Option<&'static [u8]> {
    let at = FILES.binary_search_by_key(&name, |(name, _)| name).ok()?;
    FILES.get(at).map(|(_, bytes)| *bytes)
}

/// Nothing outside the folder is found.
fn read(name: &str) -> Option<Vec<u8>> {
    let inside = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("static");
    inside
        .then(|| std::fs::read(folder.join(name)).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_as_it_is_on_the_disk() {
        assert!(FILES.iter().any(|(name, _)| *name == "console/poll.js"));
        for (name, bytes) in FILES {
            assert_eq!(read(name).as_deref(), Some(*bytes), "{name}");
            assert_eq!(embedded(name), Some(*bytes), "{name}");
        }
    }

    #[test]
    fn nothing_outside_the_folder_is_found() {
        for name in [
            "../Cargo.toml",
            "/etc/hostname",
            "console/../../Cargo.toml",
            "",
            "console",
        ] {
            assert_eq!(read(name), None, "{name}");
            assert_eq!(embedded(name), None, "{name}");
        }
    }
}
