//! What a client tells whoever made it, as it happens: metrics and records are theirs.

/// Is told how the API keys fare. Every method does nothing by default.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// Athos gave an answer that shows the key to be good.
    fn key_accepted(&self, _fingerprint: &str) {}

    /// Athos refused the key, with this code.
    fn key_refused(&self, _fingerprint: &str, _code: &str) {}
}

/// Observes nothing.
impl Observer for () {}
