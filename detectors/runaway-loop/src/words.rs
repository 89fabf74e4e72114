//! What people are told.

use std::sync::Arc;

use watchkeeper_core::{Elapsed, Report, quote};

use crate::{
    cycle::{Cycle, Recurrence},
    trail::MAX_TOOLS,
};

/// How many tools a message names.
const MAX_NAMED: usize = 4;

/// Tells of a cycle of calls of these tools, or of the answers to one call.
pub(crate) fn going_round(
    cycle: Cycle,
    is_one_call: bool,
    has_answers: bool,
    tools: &[&str],
    took: Elapsed,
) -> Report {
    let Cycle { period, rounds, n_odd } = cycle;
    let names = in_words(tools);
    let calls = match period {
        _ if is_one_call => format!("the same call of {names}"),
        2..=MAX_TOOLS => format!("the same {period} calls of {names}"),
        _ => format!("the same {period} calls, the latest of {names},"),
    };
    let flaw = match n_odd {
        None => String::new(),
        Some(0) => ", though not always in order".to_owned(),
        Some(1) => ", but for 1 odd call in between".to_owned(),
        Some(n) => format!(", but for {n} odd calls in between"),
    };
    let what = match (has_answers, is_one_call) {
        (true, true) if period == 1 => "got the same answer".to_owned(),
        (true, true) => format!("got the same {period} answers in turn"),
        (true, false) => "got the same answers".to_owned(),
        (false, true) => "was made".to_owned(),
        (false, false) => "were made".to_owned(),
    };
    let unanswered = if has_answers { "" } else { ", and not all were answered" };
    Report::new(format!("{calls} {what} {rounds} times over in {took}{flaw}{unanswered}"))
        .with("period", period)
        .with("rounds", rounds)
        .with("odd_calls", n_odd.unwrap_or_default())
        .with("tools", tools.iter().map(|it| unquoted(it)).collect::<Vec<_>>())
}

/// Tells of a call that recurs in no order.
pub(crate) fn recurring(latest: Recurrence, has_answers: bool, tool: &Arc<str>) -> Report {
    let Recurrence { n_times, n_steps, .. } = latest;
    let what = if has_answers {
        "gave the same answer to the same call"
    } else {
        "was called the same way"
    };
    Report::new(format!(
        "{} {what} {n_times} times in {n_steps} calls, with no known change in between",
        quote(tool)
    ))
    .with("times", n_times)
    .with("calls", n_steps)
    .with("tools", [unquoted(tool)].as_slice())
}

/// Names some of the tools of a round.
fn in_words(tools: &[&str]) -> String {
    let (shown, n_more) =
        (&tools[..tools.len().min(MAX_NAMED)], tools.len().saturating_sub(MAX_NAMED));
    let mut names: Vec<String> = shown.iter().map(|it| quote(it)).collect();
    if 0 < n_more {
        names.push("others".to_owned());
    }
    match &names[..] {
        [] => "unknown tools".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn unquoted(tool: &str) -> String {
    quote(tool).trim_matches('`').to_owned()
}
