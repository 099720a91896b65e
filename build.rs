//! Lists the files of `static/`, with their contents, for `src/http/pages.rs`. A build script rather than a macro: cargo
//! runs it again when a file comes or goes, as the browser SDK in `static/vendor/` does. And has the functions of the start
//! linked next to each other.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    list_static_files(&root, &out)?;
    link_start_together(&root, &out)
}

fn list_static_files(root: &Path, out: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed=static");
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

/// Linux maps 64 KB of a program around each page that runs. The functions that run before a service is ready are everywhere
/// in the program, so that nearly all of it would be in memory. `scripts/link-order` writes their names to `link/start.txt`. A
/// name ends with a hash, which changes with the compiler and with dependencies; so behind the functions with these very names
/// come those that are called the same otherwise. For the profile `dist` alone, whose linker is known: some linkers read no
/// scripts. Cargo tells the profile by the folder only.
fn link_start_together(root: &Path, out: &Path) -> io::Result<()> {
    let is = |name, value| env::var(name).is_ok_and(|found| found == value);
    let is_dist = is("PROFILE", "release") && out.iter().any(|part| part == "dist");
    if !is_dist || !is("CARGO_CFG_TARGET_OS", "linux") {
        return Ok(());
    }
    let list = root.join("link/start.txt");
    println!("cargo::rerun-if-changed={}", list.display());
    let names = fs::read_to_string(list)?;
    let mut without_hash: Vec<_> = names
        .lines()
        .filter_map(|name| name.rsplit_once("17h"))
        .collect();
    without_hash.dedup_by_key(|(path, _)| *path);
    let without_hash = without_hash.iter().map(|(path, _)| format!("{path}17h*"));
    let mut script = String::from("SECTIONS { .text.start : {\n");
    for name in names.lines().map(str::to_owned).chain(without_hash) {
        let _ = writeln!(script, "*(.text.{name} .text.unlikely.{name})");
    }
    script.push_str("} } INSERT BEFORE .text;\n");
    let path = out.join("start.ld");
    fs::write(&path, script)?;
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", path.display());
    Ok(())
}
