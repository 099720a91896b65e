//! The process: reads `.env` and the command line, runs the command, and turns its ending into an exit code.

use std::process::ExitCode;

use athos_backend::cli::{self, Cli};

fn main() -> ExitCode {
    let ended = load_env_file().and_then(|()| cli::run(Cli::from_process()));
    match ended {
        Ok(code) => code,
        Err(error) => {
            // One paragraph, causes and all, and no backtrace.
            eprintln!("athos-backend: {error:#}");
            cli::exit_code(&error)
        }
    }
}

/// Variables of the environment win over those of the file.
fn load_env_file() -> anyhow::Result<()> {
    match dotenvy::dotenv() {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => {
            let why = without_values(&error);
            Err(cli::Misconfigured(format!("the file .env cannot be read: {why}")).into())
        }
    }
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
    match line.split_once('=').map(|(name, _)| name).filter(is_name) {
        Some(name) => format!(
            "the value of {name} is not one; put it in quotes when it has spaces, quotes or #"
        ),
        None => "one of its lines is not NAME=value".to_owned(),
    }
}
