//! A value that can be replaced while it is in use: whoever has taken it keeps what they took to the end, and can find
//! out that there is another.

use std::sync::Arc;

use tokio::sync::watch;

/// What is in force now.
#[derive(Debug)]
pub struct Reloadable<T>(watch::Sender<Arc<T>>);

impl<T> Reloadable<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self(watch::Sender::new(Arc::new(value)))
    }

    /// What is in force at this moment.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// What is in force, and whatever comes after it.
    pub fn follow(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    /// Puts `value` in force for everyone who asks from now on.
    pub fn replace(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }
}
