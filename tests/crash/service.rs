//! The real binary, started as an operator starts it, and killed as nobody should.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::vendor::Vendor;

pub(crate) const API_KEY: &str = "ath_live_crash_0123456789abcdef";
pub(crate) const SERVICE_TOKEN: &str = "svc_crash_0123456789abcdef0123456789";

/// What to start, and with which settings.
#[derive(Clone)]
pub(crate) struct Binary {
    database_url: String,
    settings: Vec<(&'static str, String)>,
}

impl Binary {
    /// The service on this file, with this vendor.
    pub(crate) fn new(database: &Path, vendor: &Vendor) -> Self {
        Self::on(format!("sqlite://{}", database.display()), vendor)
    }

    /// The service on this database, with this vendor.
    pub(crate) fn on(database_url: String, vendor: &Vendor) -> Self {
        Self {
            database_url,
            settings: vec![
                ("ATHOS_BASE_URL", vendor.base_url()),
                ("ATHOS_WHSEC", vendor.secret.clone()),
            ],
        }
    }

    pub(crate) fn set(mut self, variable: &'static str, value: impl ToString) -> Self {
        self.settings.push((variable, value.to_string()));
        self
    }

    /// One of its commands.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_athos-backend"));
        command
            .args(arguments)
            .env_clear()
            .env("ATHOS_API_KEY", API_KEY)
            .env("SERVICE_TOKENS", SERVICE_TOKEN)
            .env("DATABASE_URL", &self.database_url)
            .env("BIND_ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("LOG_FORMAT", "json")
            .env("RUST_LOG", "warn,athos_backend::lifecycle=info")
            // The soonest that is allowed; each start looks at once all the same.
            .env("RECONCILE_EVERY", "10s")
            .envs(self.settings.iter().cloned())
            .current_dir(std::env::temp_dir());
        command
    }

    /// Starts `serve` without waiting for it.
    pub(crate) fn spawn(&self) -> Starting {
        Starting::spawn(self.command(&["serve"]))
    }

    /// Starts `serve` and waits until it says where it listens.
    pub(crate) fn start(&self) -> Service {
        match self.spawn().listening() {
            Ok(service) => service,
            Err(ended) => panic!("it ended before it listened:\n{}", ended.said),
        }
    }
}

/// A process of which nobody knows yet whether it will serve.
pub(crate) struct Starting {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    listens: std::sync::mpsc::Receiver<String>,
}

/// A service that did not come to listen.
#[derive(Debug)]
pub(crate) struct RunOutcome {
    pub(crate) said: String,
}

impl Starting {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (say, listens) = std::sync::mpsc::channel();
        let lines = Arc::clone(&log);
        // A pipe that nobody reads would stop the service once it is full.
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
                if parsed["message"] == "listening" {
                    let addr = parsed["addr"].as_str().unwrap_or_default();
                    let _ = say.send(format!("http://{addr}"));
                }
                lines.lock().unwrap().push(line);
            }
        });
        Self {
            process,
            log,
            reader: Some(reader),
            listens,
        }
    }

    /// Waits until it listens, or until it has ended.
    pub(crate) fn listening(mut self) -> Result<Service, RunOutcome> {
        match self.listens.recv() {
            Ok(origin) => Ok(Service {
                origin,
                running: self,
            }),
            Err(_) => {
                self.process.wait().unwrap();
                Err(RunOutcome { said: self.log() })
            }
        }
    }

    /// Whether it has said that it listens.
    pub(crate) fn has_listened(&self) -> bool {
        let log = self.log.lock().unwrap();
        log.iter().any(|line| line.contains("\"listening\""))
    }

    pub(crate) fn log(&mut self) -> String {
        if let Some(reader) = self.reader.take_if(|reader| reader.is_finished()) {
            reader.join().unwrap();
        }
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = self.process.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }

    /// SIGKILL: no handler runs, no buffer is flushed. All that it said is in the log then.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.ended();
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A service that listens.
pub(crate) struct Service {
    pub(crate) origin: String,
    pub(crate) running: Starting,
}

impl Service {
    pub(crate) fn kill(&mut self) {
        self.running.kill();
    }
}
