//! What a copy of a store tells: its progress, and what it has verified.

/// The progress of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep<'a> {
    /// So many rows of a table are in the target.
    Copying {
        /// The table.
        table: &'a str,
        /// So far, with those of earlier runs.
        rows: u64,
        /// Of the source.
        of: u64,
    },
    /// A table is read in one database, and then in the other.
    Verifying {
        /// The table.
        table: &'a str,
        /// Which database, without what may be secret.
        database: &'a str,
        /// So far.
        rows: u64,
        /// Of those that were copied.
        of: u64,
    },
}

/// A table that is the same in both databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub table: String,
    /// How many rows it has.
    pub rows: u64,
    /// SHA-256 of its rows, combined by XOR; the same for the same rows on every engine.
    pub hash: [u8; 32],
}
