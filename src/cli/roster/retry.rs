//! How an import asks Athos: again while a failure may pass, and not any more when nothing will succeed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use athos_api::{self as athos, Class};

/// How often one request is tried while its failure may pass.
const MAX_TRIES: u32 = 8;
/// The first wait between tries, unless Athos names one; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// So many requests given up one after the other, and it is not the rows.
const GIVEN_UP_FOR_ALL: u32 = 4;

/// Why a row is not done, and whether others can be.
pub(super) enum RowError {
    /// This row's own.
    Row(String),
    /// Everybody's: nothing will succeed.
    All(String),
}

impl From<anyhow::Error> for RowError {
    fn from(error: anyhow::Error) -> Self {
        Self::All(format!("{error:#}"))
    }
}

/// Whether to go on.
#[derive(Default)]
pub(super) struct StopSignal {
    token: CancellationToken,
    reason: OnceLock<String>,
    /// Since the last answer.
    given_up: AtomicU32,
}

impl StopSignal {
    pub(super) fn set(&self, reason: &str) {
        self.reason.get_or_init(|| reason.to_owned());
        self.token.cancel();
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// Asks Athos, and again while that may help. What is on its way is waited for, also when it is time to stop.
    pub(super) async fn with_retries<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, athos::Error>,
    ) -> Result<T, RowError> {
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            let error = match ask().await {
                Ok(answer) => {
                    self.given_up.store(0, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let after = match error.class() {
                Class::Transient { after } if tries < MAX_TRIES => after,
                Class::Transient { .. } => return Err(self.give_up(&error)),
                _ => return Err(judge(&error)),
            };
            if let Some(after) = after {
                tracing::warn!("Athos asks to wait {} s", after.as_secs());
            }
            tokio::select! {
                () = tokio::time::sleep(after.unwrap_or(wait)) => {}
                () = self.token.cancelled() => return Err(judge(&error)),
            }
            wait *= 2;
            tries += 1;
        }
    }

    /// One request may fail for what is in it, and the others must not wait for it. Several are an outage.
    fn give_up(&self, error: &athos::Error) -> RowError {
        let why = format!("tried {MAX_TRIES} times: {error}");
        match self.given_up.fetch_add(1, Ordering::Relaxed) + 1 {
            GIVEN_UP_FOR_ALL.. => RowError::All(format!("Athos cannot be asked, {why}")),
            _ => RowError::Row(why),
        }
    }
}

/// What a failure means for the rows to come.
fn judge(error: &athos::Error) -> RowError {
    match (error.class(), code(error)) {
        (_, "AGENCY_NOT_FOUND") => RowError::Row(
            "its agency is not registered at Athos: with agencyName in the file, it is created"
                .to_owned(),
        ),
        (_, "AGENT_NOT_FOUND") => RowError::Row(error.to_string()),
        (Class::NotFound, _) => RowError::All(no_roster(error)),
        (Class::KeyFault, _) => RowError::All(format!("Athos refuses us: {error}")),
        _ => RowError::Row(error.to_string()),
    }
}

/// Athos's code, when it has refused.
pub(super) fn code(error: &athos::Error) -> &str {
    match error {
        athos::Error::Refused(refusal) => &refusal.code,
        _ => "",
    }
}

/// Why the endpoints of the roster are not there.
pub(super) fn no_roster(error: &athos::Error) -> String {
    format!(
        "Athos has no roster here ({error}): it speaks generation external, in which reps need no registration"
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use athos_api::Refusal;

    fn unavailable() -> athos::Error {
        athos::Error::Refused(Refusal {
            status: 503,
            code: "SERVICE_UNAVAILABLE".to_owned(),
            message: String::new(),
            request_id: None,
            retry_after: Some(Duration::ZERO),
            existing_agent: None,
        })
    }

    #[tokio::test]
    async fn one_request_that_always_fails_is_a_rows_trouble_and_several_are_everybodys() {
        let stop = StopSignal::default();
        let asked = Cell::new(0);
        let fail = async || {
            asked.set(asked.get() + 1);
            Err::<(), _>(unavailable())
        };
        for round in 1..GIVEN_UP_FOR_ALL {
            let failed = stop.with_retries(fail).await;
            assert!(matches!(failed, Err(RowError::Row(_))), "{round}");
            assert_eq!(asked.get(), MAX_TRIES * round);
        }
        assert!(stop.with_retries(async || Ok(())).await.is_ok());
        assert!(
            matches!(stop.with_retries(fail).await, Err(RowError::Row(_))),
            "counted anew"
        );
        for _ in 2..GIVEN_UP_FOR_ALL {
            assert!(stop.with_retries(fail).await.is_err());
        }
        assert!(matches!(
            stop.with_retries(fail).await,
            Err(RowError::All(_))
        ));
    }

    #[tokio::test]
    async fn nothing_is_waited_for_once_it_is_time_to_stop() {
        let stop = StopSignal::default();
        stop.set("asked to");
        let mut later = unavailable();
        if let athos::Error::Refused(refusal) = &mut later {
            refusal.retry_after = Some(Duration::from_secs(86_400));
        }
        let failed = stop
            .with_retries(async || Err::<(), _>(later.clone()))
            .await;
        assert!(failed.is_err());
        stop.set("something else");
        assert_eq!(stop.reason(), Some("asked to"));
    }
}
