//! Standard output of the commands. Whoever reads it may have seen enough, as `head` has: then the command ends without a
//! word, as other programs do that the signal of a closed pipe ends.

use std::io::{self, Stdout, Write};

/// What a shell says of a program that was ended by SIGPIPE.
pub(super) const CLOSED_EXIT_CODE: u8 = 128 + 13;

/// Standard output, which knows when nobody reads it any more.
pub(super) struct Output(Stdout);

/// Nobody reads what is written.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
struct Closed;

impl Output {
    pub(super) fn standard() -> Self {
        Self(io::stdout())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark)
    }
}

/// A connection can break like a pipe; only that of the output is no error.
fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Closed),
        _ => error,
    }
}

/// Whether this is what came of writing to nobody.
pub(super) fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|io| io.get_ref().is_some_and(|inner| inner.is::<Closed>()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_outputs_own_end_is_silent() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed(
            &anyhow::Error::new(mark(broken())).context("while it lists")
        ));
        assert!(!is_closed(&anyhow::Error::new(broken())));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!is_closed(&anyhow::Error::new(mark(full))));
    }
}
