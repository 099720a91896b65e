//! What a test wants of its service: settings, callers, another vendor than the simulator, a worker that runs.

use std::path::{Path, PathBuf};

use athos_backend::config::Config;
use athos_backend::http::Deadlines;
use athos_simulator::Contract;

use super::{Secrets, Telling, TestApp};

/// A secret that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}_{:032x}", rand::random::<u128>())
}

/// How to start a [`TestApp`].
pub(crate) struct Setup {
    pub(super) secrets: Secrets,
    pub(super) run_worker: bool,
    pub(super) demo: bool,
    pub(super) contract: Contract,
    pub(super) clocks_apart: bool,
    pub(super) deadlines: Deadlines,
    flags: Vec<String>,
    knows_jwt_secret: bool,
    knows_api_keys: bool,
    athos: Option<String>,
    /// A file to begin with.
    pub(super) database: Option<PathBuf>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self {
            secrets: Secrets {
                api_keys: [unique("ath_live_1"), unique("ath_live_2")],
                whsec: unique("whsec"),
                service: unique("svc"),
                jwt: unique("jwt_secret"),
            },
            run_worker: false,
            demo: false,
            contract: Telling::of_this_run().at_first(),
            clocks_apart: false,
            deadlines: Deadlines::default(),
            flags: Vec::new(),
            knows_jwt_secret: true,
            knows_api_keys: true,
            athos: None,
            database: None,
        }
    }

    /// A service in place of another, on a copy of its database: with its secrets and its vendor.
    pub(crate) fn restored(app: &TestApp, backup: &Path) -> Self {
        Self {
            secrets: app.secrets.clone(),
            athos: Some(app.simulator.base_url()),
            database: Some(backup.to_owned()),
            ..Self::new()
        }
    }

    /// One more setting, as a flag.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push(format!("--{name}={value}"));
        self
    }

    /// JWTs are verified in another way, or not at all.
    pub(crate) fn without_jwt_secret(mut self) -> Self {
        self.knows_jwt_secret = false;
        self
    }

    /// Athos has not given us a key yet.
    pub(crate) fn without_api_keys(mut self) -> Self {
        self.knows_api_keys = false;
        self
    }

    /// Another vendor than the simulator.
    pub(crate) fn athos(mut self, url: &str) -> Self {
        self.athos = Some(url.to_owned());
        self
    }

    /// The generation of the contract that the vendor begins with.
    pub(crate) fn contract(mut self, contract: Contract) -> Self {
        self.contract = contract;
        self
    }

    /// The worker runs by itself, as in production.
    pub(crate) fn with_worker(mut self) -> Self {
        self.run_worker = true;
        self
    }

    /// Athos has a clock of its own: ours may be wrong by itself.
    pub(crate) fn with_clocks_apart(mut self) -> Self {
        self.clocks_apart = true;
        self
    }

    /// The demo's sign-in is there.
    pub(crate) fn with_demo(mut self) -> Self {
        self.demo = true;
        self.flag("auth-cookie", athos_backend::http::DEMO_COOKIE)
    }

    /// Clients must hurry, so that a test of those who do not need not wait.
    pub(crate) fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    pub(crate) async fn start(self) -> TestApp {
        TestApp::from_setup(self).await
    }

    pub(super) fn config(&self, simulator: &str, database: &str) -> Config {
        let secrets = &self.secrets;
        let athos = self.athos.as_deref().unwrap_or(simulator);
        let mut flags = vec![
            "--bind-addr=127.0.0.1:0".to_owned(),
            "--admin-addr=127.0.0.1:0".to_owned(),
            format!("--athos-base-url={athos}"),
            format!("--athos-whsec={}", secrets.whsec),
            format!("--service-tokens={}", secrets.service),
            format!("--database-url={database}"),
        ];
        if self.knows_api_keys {
            flags.push(format!("--athos-api-key={}", secrets.api_keys.join(",")));
        }
        if self.knows_jwt_secret {
            flags.push(format!("--auth-jwt-secret={}", secrets.jwt));
        }
        if !self
            .flags
            .iter()
            .any(|flag| flag.starts_with("--mint-limit"))
        {
            flags.push("--mint-limit-per-rep=1000".to_owned());
        }
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let own: Vec<_> = self.flags.iter().map(|flag| name(flag)).collect();
        let told = Telling::of_this_run().flags().iter();
        let told = told.filter(|flag| !own.contains(&name(flag)));
        flags.extend(told.map(|flag| (*flag).to_owned()));
        flags.extend(self.flags.iter().cloned());
        let config = Config::from_flags(flags).unwrap();
        config.check().unwrap();
        config
    }

    /// The values of flags that hold secrets.
    pub(super) fn secret_flags(&self) -> impl Iterator<Item = &str> {
        let names = [
            "--athos-whsec=",
            "--auth-proxy-secret=",
            "--service-tokens=",
        ];
        self.flags
            .iter()
            .flat_map(move |flag| names.into_iter().filter_map(|name| flag.strip_prefix(name)))
    }
}
