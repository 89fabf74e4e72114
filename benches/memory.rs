//! The memory of a session.

use std::{fs, hint::black_box, io, process::Command};

use crate::{
    Plan, measure,
    table::{Figure, Row},
    traffic::{self, Engines, Traffic},
};

/// The argument that makes this program call [`fill`] and print the result. The number of events
/// per session follows.
pub(crate) const AS_SESSIONS: &str = "--as-sessions";
const N_SESSIONS: u64 = 100_000;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    const NAME: &str = "memory, a session";
    if !fs::exists("/proc/self/status")? {
        return Ok(vec![Row::unmeasured(NAME, "the system has no /proc")]);
    }
    let n_events = if plan.is_quick { 30 } else { 110 };
    // In its own process, where nothing else was allocated or freed before.
    let output = Command::new(std::env::current_exe()?)
        .args([AS_SESSIONS, &n_events.to_string()])
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let Ok(bytes) = printed.trim().parse() else {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    };
    let remark = format!(
        "resident memory per session, for 100,000 unfinished sessions with {n_events} events each"
    );
    Ok(vec![Row::new(NAME, Figure::Bytes(bytes)).at_most(1_536.0).remark(remark)])
}

/// Fills the memory with sessions. Returns the resident memory per session, in bytes.
pub(crate) fn fill(n_events: u64) -> Result<f64, String> {
    let policy = traffic::policy()?;
    let engines = Engines::new(&policy);
    let mut warm_up = engines.engine();
    let mut warm_up_traffic = Traffic::new(10, 200);
    for _ in 0..1_000 {
        warm_up.observe(&warm_up_traffic.next(), &mut Vec::new());
    }
    let mut engine = engines.engine();
    let mut findings = Vec::new();
    let before = measure::resident().ok_or("no resident memory in /proc")?;
    // Created after the first measurement, as it shares the ids with the engine.
    let mut traffic = Traffic::new(N_SESSIONS, 200);
    for _ in 0..N_SESSIONS * n_events {
        engine.observe(&traffic.next(), &mut findings);
        findings.clear();
    }
    let after = measure::resident().ok_or("no resident memory in /proc")?;
    black_box((&engine, &traffic));
    #[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
    Ok(after.saturating_sub(before) as f64 / N_SESSIONS as f64)
}
