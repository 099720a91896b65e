//! Lists the files of `static/`, with their contents, for `src/http/pages.rs`. A build script rather than a macro: cargo
//! runs it again when a file comes or goes, as the browser SDK in `static/vendor/` does.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=static");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let mut files = Vec::new();
    collect(&root.join("static"), "", &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for name in files {
        let below_root = format!("/static/{name}");
        // Writing to a String does not fail. The folder is found at compile time: a checkout may move with what was built.
        let _ = writeln!(
            list,
            "    ({name:?}, include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {below_root:?}))),"
        );
    }
    list.push_str("]\n");
    fs::write(out.join("static_files.rs"), list)
}

/// The name of every file below `folder`, with `/` between its parts.
fn collect(folder: &Path, within: &str, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{within}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}
