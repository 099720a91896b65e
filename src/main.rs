//! The process: reads `.env` and the command line, runs the command, and turns its ending into an exit code.

use std::process::ExitCode;

use athos_backend::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    let ended = load_env_file().and_then(|()| cli::run(Cli::parse()));
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
            Err(cli::Misconfigured(format!("the file .env cannot be read: {error}")).into())
        }
    }
}
