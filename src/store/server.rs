//! What is seen of a database server from outside, for `doctor`.

use std::time::Duration;

use super::ClockDifference;

/// A server, and what the service's role may do on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// The database without what may be secret.
    pub name: String,
    /// Its version, as it says it.
    pub version: String,
    /// Whether this version of the service can use it.
    pub is_supported: bool,
    /// How texts are stored.
    pub encoding: String,
    /// Its time zone; nothing depends on it.
    pub time_zone: String,
    /// Size of the database, in bytes.
    pub size_bytes: u64,
    /// If it is a standby, by how much it is behind; unknown before anything was replayed.
    pub standby: Option<Option<Duration>>,
    /// Settings by which what is committed may be lost, or nothing can be committed.
    pub unsafe_settings: Vec<&'static str>,
    /// `synchronous_commit`, as the role finds it.
    pub synchronous_commit: String,
    /// The standbys that a commit waits for, as they are configured; empty for none.
    pub synchronous_standbys: String,
    /// Who connects.
    pub role: String,
    /// Whether the role may make tables, as a new version needs to.
    pub may_create: bool,
    /// Tables that it may not read and write.
    pub closed_tables: Vec<String>,
    /// Connections to the server.
    pub connections: Connections,
    /// How this machine's clock differs.
    pub clock: ClockDifference,
    /// Whether a pooler that shares connections between transactions is in between.
    pub is_pooled: bool,
    /// Whether notifications come, on the connection that listens; or why that is not known.
    pub notifications: Result<bool, String>,
}

/// How many connections there are, and may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// To the whole server, now.
    pub in_use: u32,
    /// Most that a role may have that is no superuser.
    pub max: u32,
    /// Most to this database, or of this role, where that is limited; and how many there are.
    pub limited: Option<(u32, u32)>,
}

impl Connections {
    /// How many more can be made.
    #[must_use]
    pub fn left(&self) -> u32 {
        let left = self.max.saturating_sub(self.in_use);
        let limited = self.limited.map(|(max, used)| max.saturating_sub(used));
        limited.map_or(left, |limited| left.min(limited))
    }
}
