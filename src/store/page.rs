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
    pub(super) fn cut<F, E>(
        found: &[F],
        limit: u32,
        key: impl Fn(&F) -> K,
        row: impl Fn(&F) -> Result<R, E>,
    ) -> Result<Self, E> {
        let limit = limit as usize;
        let page = &found[..found.len().min(limit)];
        let last = page.last().filter(|_| found.len() > limit);
        Ok(Self {
            next: last.map(key),
            rows: page.iter().map(row).collect::<Result<_, _>>()?,
        })
    }
}
