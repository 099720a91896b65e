//! The log of the whole test process: captured once, at TRACE for our own crate and at the production level for the
//! rest, so that each test can search its stretch of it for secrets.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static START: Once = Once::new();

fn log() -> MutexGuard<'static, Vec<u8>> {
    // A test that panicked while it logged has not spoilt the bytes.
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Capture;

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A place in the log.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl Mark {
    /// The end of the log so far; the first call starts the capture.
    pub(crate) fn here() -> Self {
        START.call_once(|| {
            let started = fmt()
                .with_env_filter(EnvFilter::new("info,athos_backend=trace"))
                .with_ansi(false)
                .with_writer(|| Capture)
                .try_init();
            assert!(started.is_ok(), "something else took the log");
        });
        Self(log().len())
    }

    /// What was logged since, by this test and by those that run beside it.
    pub(crate) fn since(self) -> String {
        String::from_utf8_lossy(&log()[self.0..]).into_owned()
    }
}
