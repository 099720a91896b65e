//! The process: reads `.env` and the command line, runs the command, and turns its result into an exit code.

use std::process::ExitCode;

use athos_backend::cli::{self, Cli};
use athos_backend::config::EnvFile;

fn main() -> ExitCode {
    let env_file = EnvFile::load();
    let ended = Cli::from_process(&env_file).map_err(Into::into);
    match ended.and_then(|cli| cli::run(cli, env_file)) {
        Ok(code) => code,
        Err(error) => cli::report(&error),
    }
}
