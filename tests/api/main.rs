//! Black-box stories: the real service on a real database, with the simulator as Athos, over HTTP. Each file tells the
//! stories of one concern; `harness` has what they share, and searches every answer and the log for secrets.
#![expect(
    clippy::unwrap_used,
    reason = "a story that cannot go on should stop right there"
)]

mod access;
mod ambient;
mod at_once;
mod audit_log;
mod backup;
mod callers;
mod changes;
#[path = "../cluster/mod.rs"]
mod cluster;
mod commands;
mod console;
mod copying;
mod deliveries;
mod demo;
mod doctor;
mod drift;
mod enrolment;
mod events;
mod exports;
mod faults;
mod forwarding;
mod fuzz;
mod generations;
mod harness;
mod hostile;
mod jwks;
mod keys;
mod live;
mod log;
mod r#loop;
mod matrix;
mod odd_answers;
mod operations;
mod outages;
mod panics;
mod privacy;
mod readme;
mod reads;
mod real_calls;
mod receiver_faults;
mod reconcile;
mod refusals;
mod roster_command;
mod rotation;
mod schedule;
mod scores;
mod time;
mod tokens;
mod webhooks;
mod worker;
