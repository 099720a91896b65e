//! The file `.env`: loaded into the environment when the process starts, and read again when it is told to. It never
//! shows a value, since most of them are secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::Misconfigured;

/// What `.env` said, and which variables it has no say in.
#[derive(Clone, Debug)]
pub struct EnvFile {
    path: PathBuf,
    values: BTreeMap<String, SecretString>,
    /// Set in the environment the process was started with: they win, and cannot change while it runs.
    elsewhere: BTreeSet<String>,
}

impl EnvFile {
    /// Loads the file, if there is one here or in a folder above, into the process's environment. Call it first of all:
    /// the environment belongs to the whole process, and must not change once there are threads.
    ///
    /// # Errors
    /// When a line is not `NAME=value`.
    pub fn load() -> Result<Self, Misconfigured> {
        let elsewhere = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect();
        let path = match dotenvy::dotenv() {
            Ok(path) => path,
            Err(error) if error.not_found() => PathBuf::from(".env"),
            Err(error) => return Err(unreadable(&error)),
        };
        let nothing = Self {
            path,
            values: BTreeMap::new(),
            elsewhere,
        };
        nothing.read_again()
    }

    /// The file as it is now. The environment stays as it is.
    ///
    /// # Errors
    /// When a line is not `NAME=value`.
    pub fn read_again(&self) -> Result<Self, Misconfigured> {
        let values = match dotenvy::from_path_iter(&self.path) {
            Ok(lines) => lines
                .map(|line| line.map(|(name, value)| (name, SecretString::from(value))))
                .collect::<Result<_, _>>(),
            Err(error) if error.not_found() => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        Ok(Self {
            values: values.map_err(|error| unreadable(&error))?,
            ..self.clone()
        })
    }

    /// Where the file is, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.exists().then_some(&*self.path)
    }

    /// The variables that the environment sets to something else than the file.
    #[must_use]
    pub fn overruled(&self) -> Vec<&str> {
        let differs = |(name, value): &(&String, &SecretString)| {
            std::env::var(name).is_ok_and(|set| set != value.expose_secret())
        };
        let overruled = self.values.iter().filter(differs);
        overruled.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether the environment that the process was started with has this variable.
    #[must_use]
    pub fn is_set_elsewhere(&self, name: &str) -> bool {
        self.elsewhere.contains(name)
    }

    /// What the file says of a variable that it has a say in. Set to nothing counts as not set.
    pub(super) fn value(&self, name: &str) -> Option<&SecretString> {
        let value = self.values.get(name)?;
        (!self.is_set_elsewhere(name) && !value.expose_secret().is_empty()).then_some(value)
    }

    /// The variables of which `other` says something else.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let said = |file: &Self, name: &String| {
            let value = file.values.get(name);
            value.map(|value| value.expose_secret().to_owned())
        };
        let names: BTreeSet<_> = self.values.keys().chain(other.values.keys()).collect();
        names
            .into_iter()
            .filter(|name| said(self, name) != said(other, name))
            .cloned()
            .collect()
    }
}

fn unreadable(error: &dotenvy::Error) -> Misconfigured {
    let why = without_values(error);
    Misconfigured(format!("the file .env cannot be read: {why}"))
}

/// The library quotes the line that it cannot read, which may hold a secret.
fn without_values(error: &dotenvy::Error) -> String {
    let dotenvy::Error::LineParse(line, _) = error else {
        return error.to_string();
    };
    let is_name = |name: &&str| {
        let mut chars = name.chars();
        chars.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    if line.starts_with('\u{feff}') {
        return "it begins with a byte order mark: save it as UTF-8 without BOM".to_owned();
    }
    match line.split_once('=').map(|(name, _)| name).filter(is_name) {
        Some(name) => format!(
            "the value of {name} is not one; put it in quotes when it has spaces, quotes or #"
        ),
        None => "one of its lines is not NAME=value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_editor_that_marks_the_byte_order_is_told_as_one() {
        let file = "\u{feff}ATHOS_WHSEC=hush\r\nBIND_ADDR=127.0.0.1:0\r\n";
        let mut lines = dotenvy::from_read_iter(file.as_bytes());
        let error = lines.next().unwrap().unwrap_err();
        assert!(unreadable(&error).to_string().contains("without BOM"));
    }

    proptest::proptest! {
        #[test]
        fn a_line_that_cannot_be_read_is_not_quoted(
            name in "[A-Za-z_ ]{0,12}",
            before in "\\PC{0,12}",
            after in "\\PC{0,12}",
        ) {
            let line = format!("{name}={before}hush_hush{after}\n");
            for read in dotenvy::from_read_iter(line.as_bytes()) {
                if let Err(error) = read {
                    proptest::prop_assert!(!unreadable(&error).to_string().contains("hush_hush"));
                }
            }
        }
    }
}
