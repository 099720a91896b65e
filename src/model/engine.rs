//! The database engines that this version can use, by the scheme of their URLs.

/// A database engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One file; `sqlite://path`.
    Sqlite,
    /// A server, shared by any number of replicas; `postgres://user@host/database`.
    Postgres,
}

/// A URL that names no engine, and what to write instead. Of the URL it has the scheme only: the rest may be a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "DATABASE_URL must begin with sqlite: or postgres: (its scheme is \"{scheme}\"): write the URL of a SQLite file, for \
     example sqlite://data/athos.db, or of a PostgreSQL server, for example postgres://user:password@host/database"
)]
pub struct UnknownEngine {
    scheme: String,
}

impl Engine {
    /// The engine of the database at `url`.
    ///
    /// # Errors
    /// [`UnknownEngine`], when no engine has its scheme.
    pub fn of(url: &str) -> Result<Self, UnknownEngine> {
        match url.split_once(':') {
            Some(("sqlite", _)) => Ok(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres),
            _ => Err(UnknownEngine {
                scheme: url
                    .split_once("://")
                    .map_or("", |(scheme, _)| scheme)
                    .to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_that_names_no_engine_only_the_scheme_is_shown() {
        assert_eq!(Engine::of("sqlite://data/a.db").unwrap(), Engine::Sqlite);
        assert_eq!(Engine::of("sqlite::memory:").unwrap(), Engine::Sqlite);
        let message = |url| Engine::of(url).unwrap_err().to_string();
        for url in ["postgres://a@db/athos", "postgresql://a@db/athos"] {
            assert_eq!(Engine::of(url).unwrap(), Engine::Postgres);
        }
        let mysql = message("mysql://me:hunter2@db/athos");
        assert!(mysql.contains("\"mysql\""), "{mysql}");
        assert!(!mysql.contains("hunter2"), "{mysql}");
        assert!(!message("hunter2:a").contains("hunter2"));
    }
}
