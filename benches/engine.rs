//! The cost of an event in the engine.

use std::{hint::black_box, io};

use watchkeeper_core::{Engine, Event};

use crate::{
    Plan, measure,
    table::{Figure, Row, grouped},
    traffic::{Engines, Traffic},
};

/// The length of the arguments of a call, in bytes.
const ARGUMENTS: usize = 200;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let engines = Engines::new(&plan.policy);
    let mut rows = Vec::new();
    let mut alone = None;
    for n_sessions in [1, 1_000, 100_000] {
        let nanos = for_sessions(n_sessions, &engines, plan)?;
        let alone = *alone.get_or_insert(nanos);
        #[expect(clippy::cast_precision_loss, reason = "a label")]
        let name = match n_sessions {
            1 => "engine, an event of 1 session".to_owned(),
            n => format!("engine, an event of {} sessions", grouped(n as f64)),
        };
        let row = Row::new(name, Figure::Nanos(nanos));
        rows.push(match n_sessions {
            1 => row.remark("with the built-in policy; excludes creating the event"),
            _ => row.times(nanos / alone).remark("relative to 1 session; the sessions take turns"),
        });
    }
    rows.push(history(&engines, plan)?);
    Ok(rows)
}

/// Measures an event when `n_sessions` take turns.
fn for_sessions(n_sessions: u64, engines: &Engines, plan: &Plan) -> io::Result<f64> {
    let mut engine = engines.engine();
    let mut traffic = Traffic::new(n_sessions, ARGUMENTS);
    // Brings every session into the middle of its work.
    for _ in 0..n_sessions * 30 {
        engine.observe(&traffic.next(), &mut Vec::new());
    }
    let block = usize::try_from(n_sessions).unwrap_or(usize::MAX).max(20_000);
    let mut costs = Vec::new();
    for _ in 0..plan.rounds(9) {
        costs.push(observe(&mut engine, &traffic.take(block))?);
    }
    Ok(measure::median(costs))
}

/// Compares an event late in a long session with one early in a short session.
fn history(engines: &Engines, plan: &Plan) -> io::Result<Row> {
    const SHORT: usize = 1_000;
    const LONG: usize = 1_000_000;
    const BLOCK: usize = 1_000;
    let mut long = (engines.engine(), Traffic::new(1, ARGUMENTS));
    for _ in 0..LONG {
        long.0.observe(&long.1.next(), &mut Vec::new());
    }
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(9) * 20 {
        let mut short = (engines.engine(), Traffic::new(1, ARGUMENTS));
        for _ in 0..SHORT {
            short.0.observe(&short.1.next(), &mut Vec::new());
        }
        let (short_block, long_block) = (short.1.take(BLOCK), long.1.take(BLOCK));
        early.push(observe(&mut short.0, &short_block)?);
        late.push(observe(&mut long.0, &long_block)?);
    }
    let (early, late) = (measure::median(early), measure::median(late));
    let remark = format!("relative to an event after 1,000: {}", Figure::Nanos(early));
    Ok(Row::new("history, an event after 1,000,000", Figure::Nanos(late))
        .times(late / early)
        .at_most_times(1.1)
        .remark(remark))
}

/// Observes events. Returns the processor time per event, in nanoseconds.
pub(crate) fn observe(engine: &mut Engine, events: &[Event]) -> io::Result<f64> {
    let mut findings = Vec::new();
    let before = measure::thread_cpu()?;
    for event in events {
        engine.observe(black_box(event), &mut findings);
    }
    let took = measure::thread_cpu()? - before;
    black_box(findings);
    Ok(measure::each(took, events.len()))
}
