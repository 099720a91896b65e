//! A page of a list, and how it is cut.

/// One page of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<R, K> {
    /// The rows.
    pub rows: Vec<R>,
    /// The key of the last row, after which the next page starts; `None` on the last.
    pub next: Option<K>,
}

impl<R, K> Page<R, K> {
    /// Cuts a page of `limit` rows from `found`, which has one row more if there is another page.
    pub(super) fn cut(mut found: Vec<R>, limit: u32, key: impl Fn(&R) -> K) -> Self {
        let limit = limit as usize;
        let is_last = found.len() <= limit;
        found.truncate(limit);
        Self {
            next: found.last().filter(|_| !is_last).map(key),
            rows: found,
        }
    }
}
