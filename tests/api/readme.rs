//! The documents' commands, run from the documents themselves: every block of commands of the README and of `docs/`, in
//! order, as a new user types them. A block without a language is what the block before it prints. What cannot run here
//! says why, in a comment above it.

use std::fs;
use std::io::{BufRead, Read};
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;

use crate::commands::{BINARY, Running, command};
use crate::harness::unique;

/// A comment for this test: `<!-- readme-test: skip: REASON -->` or `<!-- readme-test: background -->`.
const MARK: &str = "<!-- readme-test: ";
/// What stands for anything, in what is printed.
const ANYTHING: char = '…';
/// The documents with commands, in the order in which a user reads them: later ones go on where earlier ones end.
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "docs/simulator.md",
    "docs/configuration.md",
    "docs/routes.md",
    "docs/operation.md",
    "docs/data.md",
    "docs/embedding.md",
    "docs/forking.md",
];
/// Facts about the vendor, and code for other programs: nothing in them is typed.
const NOT_TYPED: [&str; 3] = [
    "docs/athos-contract.md",
    "docs/forwarding.md",
    "docs/scaling.md",
];

struct Block {
    /// Document and line.
    place: String,
    language: String,
    mark: String,
    text: String,
}

impl Block {
    fn skip(&self) -> Option<&str> {
        self.mark.strip_prefix("skip: ")
    }

    fn is_output(&self) -> bool {
        self.language.is_empty()
    }
}

/// The blocks of a document, without the indentation that they have in lists.
fn blocks(document: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut indent, mut mark) = (false, 0, String::new());
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if let Some(language) = trimmed.strip_prefix("```") {
            open = !open;
            if open {
                indent = line.len() - trimmed.len();
                blocks.push(Block {
                    place: format!("{document}:{}", at + 1),
                    language: language.to_owned(),
                    mark: std::mem::take(&mut mark),
                    text: String::new(),
                });
            }
        } else if open {
            let block = blocks.last_mut().unwrap();
            block.text += line.get(indent..).unwrap_or_default();
            block.text.push('\n');
        } else if let Some(rest) = trimmed.strip_prefix(MARK) {
            mark = rest.strip_suffix(" -->").unwrap().to_owned();
        } else if !trimmed.is_empty() {
            mark.clear();
        }
    }
    assert!(!open, "{document}: a block without an end");
    blocks
}

/// A block's commands: lines that end with a backslash go on, and comments are left out.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        if goes_on {
            let last = commands.last_mut().unwrap();
            *last += &format!("\n{line}");
        } else if !line.is_empty() && !line.starts_with('#') {
            commands.push(line.to_owned());
        }
        goes_on = line.ends_with('\\');
    }
    commands
}

/// What is printed, as a pattern of the shell.
fn pattern(line: &str) -> String {
    let quoted = |part: &str| format!("'{}'", part.replace('\'', r"'\''"));
    let parts: Vec<_> = line.split(ANYTHING).map(quoted).collect();
    format!("*{}*", parts.join("*"))
}

/// A process that goes on, and whose log nobody has to read.
fn started(folder: &Path, arguments: &[&str]) -> Running {
    let mut command = command(folder, arguments, &[]);
    command.stderr(Stdio::null());
    Running::start(command)
}

/// Starts what goes on running, and reads from it all that the document says it prints; what stood where anything may.
fn start(folder: &Path, block: &Block, printed: &Block) -> (Running, Vec<String>) {
    let [typed] = &commands(&block.text)[..] else {
        panic!("{}: one command at a time", block.place);
    };
    let arguments = typed.split_once(" -- ").unwrap().1;
    let free = ["--bind=127.0.0.1:0", "--simulator-bind=127.0.0.1:0"];
    let arguments = arguments.split_whitespace().chain(free);
    let mut running = started(folder, &arguments.collect::<Vec<_>>());
    let mut facts = Vec::new();
    for documented in printed.text.lines() {
        let mut line = String::new();
        running.out.read_line(&mut line).unwrap();
        let name = |line: &str| line.split_once(": ").map(|(name, _)| name.to_owned());
        assert_eq!(
            name(documented),
            name(&line),
            "{}: {documented}",
            block.place
        );
        facts.push(line.trim().to_owned());
    }
    (running, facts)
}

/// The settings of "Production in five minutes": the example, with its values replaced as it says; Athos is the simulator.
fn production_env(athos: &str, key: &str, secret: &str) -> String {
    let example = include_str!("../../.env.example");
    let mut lines: Vec<_> = example
        .replace("ath_live_replace-me", key)
        .replace("whsec_replace-me", secret)
        .lines()
        .map(|line| match line.split_once("=replace-me") {
            Some((name, _)) if !name.starts_with('#') => format!("{name}={}", unique("secret")),
            _ => line.to_owned(),
        })
        .collect();
    lines.push(format!("ATHOS_BASE_URL={athos}"));
    lines.join("\n")
}

#[test]
fn the_documents_commands_work_in_order_and_print_what_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |document: &str| fs::read_to_string(root.join(document)).unwrap();
    let blocks: Vec<_> = DOCUMENTS
        .iter()
        .flat_map(|document| blocks(document, &read(document)))
        .collect();
    let folder = TempDir::new().unwrap();
    for name in ["bin", "backups"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink(BINARY, folder.path().join("bin/athos-backend")).unwrap();

    let (key, secret) = (unique("ath_live"), unique("whsec"));
    let keys = ["--api-key", &key, "--webhook-secret", &secret];
    let vendor = ["simulate", "--bind=127.0.0.1:0", "--contract=both"];
    let vendor = [&vendor[..], &keys].concat();
    let mut vendor = started(folder.path(), &vendor);
    let athos = vendor.out.by_ref().lines().map(Result::unwrap);
    let athos = athos.skip_while(|line| !line.starts_with("simulator: "));
    let athos = athos.take(1).collect::<String>();
    let env = production_env(athos.strip_prefix("simulator: ").unwrap(), &key, &secret);
    let env_file = folder.path().join(".env");

    let (mut ran, mut skipped) = (0, Vec::new());
    let mut demo = None;
    let mut places: Vec<(String, String)> = vec![("/backups/".into(), "backups/".into())];
    let mut script = "set -euo pipefail\nexport PATH=\"$PWD/bin:$PATH\"\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n\
        curl() { command curl --fail-with-body --max-time 30 \"$@\"; }\n"
        .to_owned();
    for (at, block) in blocks.iter().enumerate() {
        let place = &block.place;
        if let Some(reason) = block.skip() {
            assert!(reason.len() > 10, "{place}: say why it is skipped");
            skipped.push(format!("{place}: {reason}"));
            continue;
        }
        let printed = blocks.get(at + 1).filter(|next| next.is_output());
        let printed = printed.filter(|next| next.skip().is_none());
        match &*block.language {
            "sh" if block.text.contains("cargo run") => {
                let (running, facts) = start(folder.path(), block, printed.unwrap());
                let fact = |name: &str| {
                    let of =
                        |fact: &String| fact.strip_prefix(&format!("{name}: ")).map(str::to_owned);
                    facts.iter().find_map(of).unwrap()
                };
                let host = |name| fact(name).strip_prefix("http://").unwrap().to_owned();
                places.push(("localhost:8080".into(), host("page")));
                places.push(("localhost:8081".into(), host("simulator")));
                places.push((format!("svc_demo_{ANYTHING}"), fact("service-token")));
                places.push((format!("http://127.0.0.1:{ANYTHING}/"), fact("receiver")));
                demo = Some(running);
            }
            "sh" => {
                let mut text = block.text.clone();
                for (documented, here) in &places {
                    text = text.replace(documented, here);
                }
                let mut commands = commands(&text);
                script += &format!("echo '{place}' >&2\n");
                if block.mark == "background" {
                    script += &format!("( {} ) > background 2>&1 &\n", commands.remove(0));
                }
                // What takes its time is asked for until it has come, as a reader would.
                let asked = printed.and_then(|printed| Some((commands.pop()?, printed)));
                for command in commands {
                    script += &format!("{command}\n");
                }
                if let Some((command, printed)) = asked {
                    let tests = printed
                        .text
                        .lines()
                        .map(|line| format!("[[ $out == {} ]]", pattern(line)));
                    let tests = tests.collect::<Vec<_>>().join(" && ");
                    script += &format!(
                        "for try in {{1..300}}; do out=$({command}) || true; if {tests}; then break; fi; sleep 0.1; done\n\
                         echo \"$out\"; {tests}\n"
                    );
                }
            }
            "csv" => {
                // The file is named where it is used.
                fs::write(folder.path().join("reps.csv"), &block.text).unwrap();
                continue;
            }
            // The documentation tests compile a recipe's code; its SQL is part of a migration.
            "" | "rust" | "rust,ignore" | "sql" => continue,
            other => panic!("{place}: {other} is not run: mark it with {MARK}skip: …"),
        }
        ran += 1;
    }
    script += "grep -q '^event: call' background\n";
    fs::write(&env_file, env).unwrap();

    let typed = folder.path().join("typed");
    fs::write(&typed, script).unwrap();
    // Longer than the patience of any of its commands.
    let mut shell = std::process::Command::new("timeout");
    let shell = shell.args(["120", "bash"]).arg(typed);
    let shell = shell.current_dir(folder.path());
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "the last block named here failed:\n{errors}\n{said}"
    );
    drop(demo);
    println!("{ran} blocks ran; skipped:\n{}", skipped.join("\n"));
    assert!(ran >= 8, "only {ran} blocks ran");
}

/// All documents, with their text.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let documents = names.filter(|name| name.ends_with(".md"));
        let path = |name: String| Path::new(folder).join(name).to_str().unwrap().to_owned();
        documents.map(path).collect::<Vec<_>>()
    };
    let names = [of(""), of("docs")].concat();
    let text = |name: String| (name.clone(), fs::read_to_string(root.join(name)).unwrap());
    names.into_iter().map(text).collect()
}

/// The name of a heading in a link, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn every_document_is_run_or_has_nothing_to_type() {
    let docs = documents().into_iter().map(|(name, _)| name);
    let mut docs: Vec<_> = docs.filter(|name| name.starts_with("docs/")).collect();
    let known = DOCUMENTS.into_iter().chain(NOT_TYPED);
    let mut known: Vec<_> = known.filter(|name| name.starts_with("docs/")).collect();
    docs.sort_unstable();
    known.sort_unstable();
    assert_eq!(docs, known);
}

#[test]
fn the_readme_is_a_front_page() {
    let lines = include_str!("../../README.md").lines().count();
    assert!(
        lines <= 200,
        "{lines} lines: reference and operation belong to docs/"
    );
}

#[test]
fn every_link_of_the_documents_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    for (name, text) in documents() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = match file {
                "" => root.join(&name),
                file => root.join(&name).parent().unwrap().join(file),
            };
            let found = path.exists()
                && (heading.is_empty()
                    || fs::read_to_string(&path)
                        .unwrap()
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line) == heading));
            if !found {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
