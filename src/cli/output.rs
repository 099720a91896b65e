//! Standard output of the commands. When its reader stops, as `head` does, the command ends silently, like programs that
//! SIGPIPE ends.

use std::io::{self, Stdout, Write};

use crate::model::outside_text_within;

/// The exit code of a program that SIGPIPE ended.
pub(super) const CLOSED_EXIT_CODE: u8 = 128 + 13;

/// Standard output that marks errors of a closed pipe.
pub(super) struct Output(Stdout);

/// Standard output was closed.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
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

/// Text from outside on one line, at most so many characters of it, without anything that a terminal would act upon.
pub(super) fn one_line(text: &str, max_chars: usize) -> String {
    outside_text_within(&text.replace(['\r', '\n', '\t'], " "), max_chars)
}

/// Marks a broken pipe as that of the output: a broken connection has the same kind.
fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(io::ErrorKind::BrokenPipe, Closed),
        _ => error,
    }
}

/// Whether the cause is a closed standard output.
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
