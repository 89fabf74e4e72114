//! What a session takes of memory.

use std::{fs, hint::black_box, io, process::Command};

use crate::{
    Plan, measure,
    table::{Figure, Row},
    traffic::{self, Engines, Traffic},
};

/// Makes this program one that fills its memory with sessions, and says how
/// much each takes. What follows is how many events each sees.
pub(crate) const AS_SESSIONS: &str = "--as-sessions";
const N_SESSIONS: u64 = 100_000;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    const NAME: &str = "memory, a session";
    if !fs::exists("/proc/self/status")? {
        return Ok(vec![Row::unmeasured(NAME, "there is no /proc")]);
    }
    let n_events = if plan.is_quick { 30 } else { 110 };
    // In a process of its own, in which nothing else was allocated or freed.
    let output = Command::new(std::env::current_exe()?)
        .args([AS_SESSIONS, &n_events.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Ok(bytes) = said.trim().parse() else {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    };
    let beside = format!(
        "resident memory of 100,000 that took turns, {n_events} events each, none over: \
         ids, facts, detectors, alarms, and the table of sessions with its free places"
    );
    Ok(vec![Row::new(NAME, Figure::Bytes(bytes)).at_most(1_536.0).beside(beside)])
}

/// Fills the memory; gives what each session takes, in bytes.
pub(crate) fn fill(n_events: u64) -> Result<f64, String> {
    let policy = traffic::policy()?;
    let engines = Engines::new(&policy);
    let mut warm_up = engines.engine();
    let mut before_it = Traffic::new(10, 200);
    for _ in 0..1_000 {
        warm_up.observe(&before_it.next(), &mut Vec::new());
    }
    let mut engine = engines.engine();
    let mut findings = Vec::new();
    let before = measure::resident().ok_or("no resident memory in /proc")?;
    // It keeps the ids that the engine shares, and so counts.
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
