//! The file `.env`: loaded into the environment at the start, and read again on a reload by the same rules. The
//! environment wins; an empty variable counts as not set. Values are never shown, since most are secrets.

mod syntax;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use self::syntax::Entry;
use super::{Problems, names};

/// Where settings may be, beside flags and the environment.
const FILE: &str = ".env";

/// The content of `.env`, and the variables that the environment overrides.
#[derive(Clone, Debug)]
pub struct EnvFile {
    path: PathBuf,
    exists: bool,
    entries: Vec<Entry>,
    /// Why it cannot be read, line by line.
    faults: Vec<String>,
    /// Set in the environment the process was started with: they win, and cannot change while it runs.
    elsewhere: BTreeSet<String>,
}

impl EnvFile {
    /// Loads the file, if there is one here or in a folder above, into the process's environment. Call it first of all:
    /// the environment belongs to the whole process, and must not change once there are threads.
    #[must_use]
    pub fn load() -> Self {
        let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
        let elsewhere = set.filter_map(|(name, _)| name.into_string().ok());
        let mut file = Self::find(elsewhere.collect());
        if let Err(error) = dotenvy::from_read_override(&*file.active()) {
            // The library's own message would quote the line.
            drop(error);
            let path = file.path.display();
            file.faults
                .push(format!("{path} cannot be put into the environment"));
        }
        file
    }

    fn find(elsewhere: BTreeSet<String>) -> Self {
        let here = std::env::current_dir().unwrap_or_default();
        for folder in here.ancestors() {
            if folder != here && folder.join(FILE).is_dir() {
                continue;
            }
            let file = Self::read(folder.join(FILE), elsewhere.clone());
            if file.exists {
                return file;
            }
        }
        Self::read(here.join(FILE), elsewhere)
    }

    fn read(path: PathBuf, elsewhere: BTreeSet<String>) -> Self {
        let mut file = Self {
            path,
            exists: true,
            entries: Vec::new(),
            faults: Vec::new(),
            elsewhere,
        };
        match fs::read(&file.path) {
            Ok(bytes) => file.parse(&bytes),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound if !file.path.is_symlink() => file.exists = false,
                // A virtual environment of Python may have this name too.
                io::ErrorKind::IsADirectory if file.path.join("pyvenv.cfg").exists() => file.exists = false,
                io::ErrorKind::IsADirectory => file.faults.push(format!(
                    "{} is a folder, not a file (Docker makes one where the file to mount is missing)",
                    file.path.display()
                )),
                _ => file.faults.push(format!("{} cannot be read: {error}", file.path.display())),
            },
        }
        file
    }

    fn parse(&mut self, bytes: &[u8]) {
        let (entries, faults) = syntax::parse(bytes);
        let mut problems: Vec<(usize, String)> = Vec::new();
        let of_entries = entries.iter().map(|entry| (entry.line, &entry.name));
        let of_faults = faults.iter();
        let of_faults = of_faults.filter_map(|fault| Some((fault.line, fault.name.as_ref()?)));
        let mut all: Vec<_> = of_entries.chain(of_faults).collect();
        all.sort();
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        for (line, name) in all {
            let before = *first.entry(name).or_insert(line);
            if before != line {
                let name = names::printable(name);
                problems.push((
                    line,
                    format!("{name} is set here and on line {before}: keep one of them"),
                ));
            }
        }
        for fault in &faults {
            let subject = match &fault.name {
                Some(name) => format!("{} ", names::printable(name)),
                None => String::new(),
            };
            problems.push((fault.line, format!("{subject}{}", fault.why)));
        }
        problems.sort();
        let path = self.path.display();
        let problems = problems
            .into_iter()
            .map(|(line, why)| format!("{path}, line {line}: {why}"));
        self.faults = problems.collect();
        self.entries = entries;
    }

    /// The lines that take effect, in the form that the dotenv library reads.
    fn active(&self) -> Vec<u8> {
        let mut text = String::new();
        for Entry { name, value, .. } in &self.entries {
            if self.value(name).is_some() {
                text.push_str(&as_dotenvy_reads(name, value.expose_secret()));
            }
        }
        text.into_bytes()
    }

    /// The file as it is now. The environment stays as it is.
    ///
    /// # Errors
    /// When it cannot be read, or not in one way only.
    pub fn read_again(&self) -> Result<Self, Problems> {
        let file = Self::read(self.path.clone(), self.elsewhere.clone());
        if file.faults.is_empty() {
            Ok(file)
        } else {
            Err(Problems::new(file.faults))
        }
    }

    /// Where the file is, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.exists.then_some(&*self.path)
    }

    /// Why it cannot be read, each reason with its line.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Where a variable is set: on a line of the file, or in the environment.
    #[must_use]
    pub fn place(&self, name: &str) -> String {
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) if !self.is_set_elsewhere(name) => {
                format!("{}, line {}", self.path.display(), entry.line)
            }
            _ => "in the environment".to_owned(),
        }
    }

    /// The variables that the environment sets to something else than the file, each with its line.
    pub fn overruled(&self) -> impl Iterator<Item = (&str, usize)> {
        let differs = |entry: &&Entry| {
            self.is_set_elsewhere(&entry.name)
                && !entry.value.expose_secret().is_empty()
                && std::env::var(&entry.name).is_ok_and(|set| set != entry.value.expose_secret())
        };
        let overruled = self.entries.iter().filter(differs);
        overruled.map(|entry| (&*entry.name, entry.line))
    }

    /// Unknown names: all of the file's, and those of the environment that look like ours.
    #[must_use]
    pub fn unknown_names(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for Entry { line, name, .. } in &self.entries {
            if !names::is_known(name) {
                let place = format!("{}, line {line}", self.path.display());
                problems.push(names::unknown(name, &place));
            }
        }
        let ours = self
            .elsewhere
            .iter()
            .filter(|name| names::looks_like_ours(name));
        problems.extend(ours.map(|name| names::unknown(name, "in the environment")));
        problems
    }

    /// Whether the environment that the process was started with has this variable.
    #[must_use]
    pub fn is_set_elsewhere(&self, name: &str) -> bool {
        self.elsewhere.contains(name)
    }

    /// The file's value of a variable that the environment does not override. An empty value counts as not set.
    pub(super) fn value(&self, name: &str) -> Option<&SecretString> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        let is_empty = entry.value.expose_secret().is_empty();
        (!self.is_set_elsewhere(name) && !is_empty).then_some(&entry.value)
    }

    /// The settings of which `other` says something else.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let said = |file: &Self| -> BTreeMap<String, String> {
            let entries = file
                .entries
                .iter()
                .filter(|entry| names::is_known(&entry.name));
            entries
                .map(|entry| (entry.name.clone(), entry.value.expose_secret().to_owned()))
                .filter(|(_, value)| !value.is_empty())
                .collect()
        };
        let (here, there) = (said(self), said(other));
        let names: BTreeSet<_> = here.keys().chain(there.keys()).collect();
        let differ = |name: &&&String| here.get(**name) != there.get(**name);
        names
            .iter()
            .filter(differ)
            .map(|name| (*name).clone())
            .collect()
    }
}

/// A line with this value and no other meaning: the library replaces a `$`, and leaves out a backslash.
fn as_dotenvy_reads(name: &str, value: &str) -> String {
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('$', "\\$");
    format!("{name}=\"{escaped}\"\n")
}

/// The variables of a file without faults.
#[cfg(test)]
pub(super) fn read_text(text: &str) -> BTreeMap<String, String> {
    let (entries, faults) = syntax::parse(text.as_bytes());
    assert_eq!(faults, []);
    let entries = entries.into_iter();
    entries
        .map(|entry| (entry.name, entry.value.expose_secret().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> EnvFile {
        let mut file = EnvFile {
            path: PathBuf::from("/srv/.env"),
            exists: true,
            entries: Vec::new(),
            faults: Vec::new(),
            elsewhere: BTreeSet::from(["AUTH_ISSUER".to_owned()]),
        };
        file.parse(text.as_bytes());
        file
    }

    #[test]
    fn a_duplicate_name_is_a_fault_that_names_both_lines() {
        let text = "ATHOS_WHSEC=hush\n# same\nATHOS_WHSEC=hush\nSOURCES=\nAUTH_COOKIE=a$hush\nAUTH_COOKIE=b\n";
        let expected = [
            "/srv/.env, line 3: ATHOS_WHSEC is set here and on line 1: keep one of them".to_owned(),
            format!(
                "/srv/.env, line 5: AUTH_COOKIE {}",
                syntax::parse(b"A=$").1[0].why
            ),
            "/srv/.env, line 6: AUTH_COOKIE is set here and on line 5: keep one of them".to_owned(),
        ];
        assert_eq!(file(text).faults, expected);
    }

    #[test]
    fn the_environment_wins_and_set_to_nothing_is_not_set() {
        let file = file("AUTH_ISSUER=b\nAUTH_AUDIENCE=c\nSOURCES=\n");
        assert!(file.value("AUTH_ISSUER").is_none());
        assert_eq!(file.value("AUTH_AUDIENCE").unwrap().expose_secret(), "c");
        assert!(file.value("SOURCES").is_none());
        assert_eq!(file.place("AUTH_AUDIENCE"), "/srv/.env, line 2");
        assert_eq!(file.place("AUTH_ISSUER"), "in the environment");
        assert_eq!(file.active(), b"AUTH_AUDIENCE=\"c\"\n");
    }

    proptest::proptest! {
        #[test]
        fn a_line_that_cannot_be_read_is_not_quoted(
            name in "[A-Za-z_ ]{0,12}",
            sign in "=|: | = |=\"|='",
            before in "\\PC{0,12}",
            after in "\\PC{0,12}",
        ) {
            for line in [format!("{name}{sign}{before}hush_hush{after}\n"), format!("{before}hush{after}=\n")] {
                let file = file(&line);
                let problems = [file.faults.clone(), file.unknown_names()].concat().concat();
                proptest::prop_assert!(!problems.contains("hush"), "{problems}");
            }
        }

        #[test]
        fn what_was_read_is_what_the_environment_gets(value in "[^\0]{1,40}") {
            let line = as_dotenvy_reads("A", &value);
            let read: Vec<_> = dotenvy::from_read_iter(line.as_bytes()).map(Result::unwrap).collect();
            proptest::prop_assert_eq!(read, [("A".to_owned(), value)]);
        }
    }
}
