//! Reads `postgres://` URLs as PostgreSQL's own programs do. What a URL has is never shown: it may be a password.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::store::InvalidUrl;

/// Longest that connecting to one address may take. With the pool's time for a connection, well under the vendor's deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A server that is gone without a word is noticed after this much silence, and two more probes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_PROBES: u32 = 2;
/// Longest that what was sent may wait for the other side's acknowledgement.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

/// Where a database is, and how it is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) verify: Verify,
}

/// What is asked of the server's certificate, where the connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing: `sslmode` up to `require`, as PostgreSQL's own programs do. It keeps off those who listen, and nobody else.
    Nothing,
    /// It is issued for this host, by an authority that the system trusts.
    System,
    /// The same, by an authority of this file.
    Roots(PathBuf),
}

impl Address {
    pub(super) fn parse(variable: &str, url: &str) -> Result<Self, InvalidUrl> {
        Self::read(url).map_err(|why| InvalidUrl(format!("{variable} {why}")))
    }

    fn read(url: &str) -> Result<Self, String> {
        // A password may have a question mark; what follows it ends at the first @.
        let host = url.find('@').unwrap_or_default();
        let query = url[host..]
            .find('?')
            .map_or(url.len(), |place| host + place);
        let (address, query) = (&url[..query], url[query..].trim_start_matches('?'));
        let (mut mode, mut roots, mut left) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(value),
                _ => left.push(pair),
            }
        }
        let read = Config::from_str(&format!("{address}?{}", left.join("&")));
        let mut config = read.map_err(|_| {
            "is not a PostgreSQL URL: write postgres://user:password@host:5432/database, with every character of the \
             password that is no letter or digit as %XX"
                .to_owned()
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(
                "names no host: write postgres://user:password@host:5432/database".to_owned(),
            );
        }
        let (ssl, mut verify) = match mode.unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Verify::Nothing),
            "allow" | "prefer" => (SslMode::Prefer, Verify::Nothing),
            "require" => (SslMode::Require, Verify::Nothing),
            "verify-ca" | "verify-full" => (SslMode::Require, Verify::System),
            _ => {
                let modes = "disable, allow, prefer, require, verify-ca or verify-full";
                return Err(format!("has an sslmode that is none of {modes}"));
            }
        };
        match roots {
            // As PostgreSQL's own programs have it: with a file of roots, `require` verifies too.
            Some(file) if file != "system" && ssl == SslMode::Require => {
                verify = Verify::Roots(unescape(file).into());
            }
            Some("system") if ssl == SslMode::Require => verify = Verify::System,
            _ => {}
        }
        config
            .ssl_mode(ssl)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_AFTER)
            .keepalives_interval(KEEPALIVE_EVERY)
            .keepalives_retries(KEEPALIVE_PROBES)
            .tcp_user_timeout(ACKNOWLEDGED_WITHIN);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("athos-backend");
        }
        // Of several hosts, the one that takes writes, also after a failover.
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Self { config, verify })
    }

    /// The database without what may be secret.
    pub(super) fn name(&self) -> String {
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        };
        let hosts: Vec<_> = self.config.get_hosts().iter().map(host).collect();
        let name = self
            .config
            .get_dbname()
            .or(self.config.get_user())
            .unwrap_or_default();
        format!("{name} at {}", hosts.join(","))
    }
}

fn unescape(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Address {
        Address::parse("DATABASE_URL", url).unwrap()
    }

    #[test]
    fn a_url_says_how_the_server_is_verified_as_it_does_elsewhere() {
        use SslMode::{Disable, Prefer, Require};
        for (query, ssl, verify) in [
            ("", Prefer, Verify::Nothing),
            ("?sslmode=disable", Disable, Verify::Nothing),
            ("?sslmode=require", Require, Verify::Nothing),
            (
                "?sslmode=verify-full&application_name=us",
                Require,
                Verify::System,
            ),
            ("?sslmode=verify-ca", Require, Verify::System),
            (
                "?sslmode=require&sslrootcert=/a%20b.pem",
                Require,
                Verify::Roots("/a b.pem".into()),
            ),
            ("?sslrootcert=/a.pem", Prefer, Verify::Nothing),
            ("?sslmode=require&options=a@b?c", Require, Verify::Nothing),
        ] {
            let address = read(&format!("postgres://me:p?ssword@db/athos{query}"));
            assert_eq!(
                (address.config.get_ssl_mode(), address.verify),
                (ssl, verify),
                "{query}"
            );
        }
    }

    #[test]
    fn a_server_that_is_gone_is_noticed_whatever_the_url_says() {
        let address = read("postgres://me@one:5432,two:5433/athos");
        assert!(address.config.get_keepalives());
        assert_eq!(address.config.get_keepalives_idle(), KEEPALIVE_AFTER);
        assert_eq!(
            address.config.get_tcp_user_timeout(),
            Some(&ACKNOWLEDGED_WITHIN)
        );
        assert_eq!(
            address.config.get_target_session_attrs(),
            TargetSessionAttrs::ReadWrite
        );
        assert_eq!(address.name(), "athos at one,two");
        assert_eq!(
            read("postgresql://me@db/athos?connect_timeout=9")
                .config
                .get_connect_timeout(),
            Some(&Duration::from_secs(9))
        );
    }

    #[test]
    fn no_error_and_no_name_shows_what_may_be_a_password() {
        for url in [
            "postgres://me:hunter2@db:port/athos",
            "postgres://me:hunter2@db/athos?hunter2=1",
            "postgres://me:hunter2@db/athos?sslmode=hunter2",
            "postgres:///athos?password=hunter2",
        ] {
            let said = Address::parse("DATABASE_URL", url).unwrap_err().to_string();
            assert!(
                said.starts_with("DATABASE_URL ") && !said.contains("hunter2"),
                "{said}"
            );
        }
        let address = read("postgres://me:hunter2@db/athos");
        assert!(!format!("{address:?} {}", address.name()).contains("hunter2"));
    }
}
