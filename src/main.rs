//! The process: reads `.env` and the command line, runs the command, and turns its ending into an exit code.

use std::process::ExitCode;

use athos_backend::cli::{self, Cli};
use athos_backend::config::EnvFile;

fn main() -> ExitCode {
    let ended = EnvFile::load()
        .map_err(Into::into)
        .and_then(|env_file| cli::run(Cli::from_process(), env_file));
    match ended {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
