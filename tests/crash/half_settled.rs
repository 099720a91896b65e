//! What no crash may leave behind, on either engine: each statement counts rows that a settlement has written by half.

/// Statements that count, and what it means when they find any.
pub(crate) const HALF_SETTLED: [(&str, &str); 2] = [
    (
        "SELECT count(*) FROM events JOIN calls ON calls.id = call_id \
         WHERE state = 'done' AND status = 'processing'",
        "events are done, but their calls are still processing",
    ),
    (
        "SELECT count(*) FROM calls WHERE (status = 'scored') \
         <> EXISTS (SELECT 1 FROM call_details WHERE call_seq = seq)",
        "scored calls have no details, or calls with details are not scored",
    ),
];
