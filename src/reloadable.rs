//! A value that can be replaced while it is in use. A reader keeps the value it took, and can watch for a new one.

use std::sync::Arc;

use tokio::sync::watch;

/// The current value.
#[derive(Debug)]
pub struct Reloadable<T>(watch::Sender<Arc<T>>);

impl<T> Reloadable<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self(watch::Sender::new(Arc::new(value)))
    }

    /// The current value.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// A receiver of the current value and the ones after it.
    pub fn follow(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    /// Replaces the value for later readers.
    pub fn replace(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }
}
