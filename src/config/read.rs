//! Reads settings: flags win over the environment, and that over `.env`, at the start and on a reload. All variables that
//! cannot be read are reported at once, by name and place, never by value.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use secrecy::ExposeSecret;

use super::{Config, EnvFile, Misconfigured, Problems};

/// The variables that cannot be read, with the reason.
#[derive(Default)]
pub(crate) struct Unreadable(BTreeMap<String, String>);

impl Unreadable {
    /// Takes the variables out of `command` that are not set, or not readable. A variable that is set to nothing counts as
    /// not set: compose files and CI systems pass on what they do not have as an empty text.
    pub(crate) fn skip_in(&self, arg: Arg) -> Arg {
        let is_of_use = |name: &OsStr| {
            let is_set = std::env::var_os(name).is_some_and(|value| !value.is_empty());
            is_set && !name.to_str().is_some_and(|name| self.0.contains_key(name))
        };
        if arg.get_env().is_some_and(is_of_use) {
            arg
        } else {
            arg.env(None::<&str>)
        }
    }

    /// Records the variables that an error is about; false when there is no new one.
    pub(crate) fn note(&mut self, command: &Command, error: &clap::Error, file: &EnvFile) -> bool {
        let before = self.0.len();
        // Arguments have the names that errors use only after this.
        let mut command = command.clone();
        command.build();
        let named = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(named)) => Some(named),
            _ => None,
        };
        for arg in every_argument(&command) {
            let Some(variable) = arg.get_env().and_then(OsStr::to_str) else {
                continue;
            };
            let is_text =
                || std::env::var_os(variable).is_none_or(|value| value.to_str().is_some());
            let why = match error.kind() {
                ErrorKind::InvalidUtf8 if !is_text() => "not UTF-8".to_owned(),
                ErrorKind::MissingRequiredArgument | ErrorKind::InvalidUtf8 => continue,
                _ if named.is_some_and(|named| *named == arg.to_string()) => why(error),
                _ => continue,
            };
            let problem = format!("{variable} ({}) is {why}.", file.place(variable));
            self.0.entry(variable.to_owned()).or_insert(problem);
        }
        self.0.len() > before
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves out the variables that the command turns out to have no use for.
    pub(crate) fn without(mut self, unused: &[&str]) -> Self {
        self.0.retain(|name, _| !unused.contains(&name.as_str()));
        self
    }

    /// One sentence for each.
    pub(crate) fn into_problems(self) -> Vec<String> {
        self.0.into_values().collect()
    }
}

/// The arguments of a command and of the commands within it.
fn every_argument(command: &Command) -> Vec<&Arg> {
    let within = command.get_subcommands().flat_map(every_argument);
    command.get_arguments().chain(within).collect()
}

/// What is wrong with a value, without showing it: our own message, or the list of allowed values.
fn why(error: &clap::Error) -> String {
    if let Some(ContextValue::Strings(allowed)) = error.get(ContextKind::ValidValue)
        && !allowed.is_empty()
    {
        return format!("not one of {}", allowed.join(", "));
    }
    match std::error::Error::source(error) {
        Some(ours) => ours.to_string(),
        None => "not a value that it may have".to_owned(),
    }
}

impl Config {
    /// A configuration from flags alone, blind to the environment: for `demo` and for tests.
    ///
    /// # Errors
    /// As clap reports it: an unknown flag, or a value that cannot be parsed.
    pub fn from_flags<I, T>(flags: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let command = flags_only().mut_args(|arg| arg.env(None::<&str>));
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }

    /// The configuration of a running process, with `.env` as it is now.
    ///
    /// # Errors
    /// When a value cannot be understood: all of them.
    pub fn read_again(flags: &[OsString], file: &EnvFile) -> anyhow::Result<Self> {
        let refused = |_| {
            Misconfigured("the flags that the process was started with cannot be read".to_owned())
        };
        let alone = flags_only().mut_args(|arg| arg.env(None::<&str>));
        let alone = alone.try_get_matches_from(flags).map_err(refused)?;
        let mut unreadable = Unreadable::default();
        loop {
            let attempt = matches_again(flags, &alone, file, &unreadable);
            match attempt {
                Ok(matches) if unreadable.is_empty() => {
                    return Ok(Self::from_arg_matches(&matches).map_err(refused)?);
                }
                Err(error) if unreadable.note(&flags_only(), &error, file) => {}
                _ => return Err(Problems::new(unreadable.into_problems()).into()),
            }
        }
    }
}

fn flags_only() -> Command {
    Config::augment_args(Command::new("athos-backend").no_binary_name(true))
}

/// The environment still has the values that the file had at the start, so the new ones are passed as flags.
fn matches_again(
    flags: &[OsString],
    alone: &ArgMatches,
    file: &EnvFile,
    unreadable: &Unreadable,
) -> Result<ArgMatches, clap::Error> {
    let mut flags = flags.to_vec();
    let command = flags_only().mut_args(|arg| {
        let name = arg.get_env().and_then(OsStr::to_str).unwrap_or_default();
        let is_flag = alone.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        if file.is_set_elsewhere(name) {
            return unreadable.skip_in(arg);
        }
        if let (Some(value), Some(long), false) = (file.value(name), arg.get_long(), is_flag)
            && !unreadable.0.contains_key(name)
        {
            flags.push(format!("--{long}={}", value.expose_secret()).into());
        }
        arg.env(None::<&str>)
    });
    command.try_get_matches_from(flags)
}
