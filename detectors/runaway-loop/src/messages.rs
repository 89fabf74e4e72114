//! The reports of cycles and repeated calls.

use std::sync::Arc;

use watchkeeper_core::{Report, author::Within, quote};

use crate::{cycle::Cycle, cycles::Occurrences, open_findings::Tools};

/// The largest number of tools in a message.
const MAX_NAMED: usize = 4;

/// Returns the report of a cycle of calls of these tools, or of a cycle of
/// results of one call. `tools` may lack the tools of earlier calls.
pub(crate) fn cycle(
    cycle: Cycle,
    is_one_call: bool,
    has_results: bool,
    tools: &Tools<'_>,
    took: Within,
) -> Report {
    let Cycle { period, rounds, n_unrelated, .. } = cycle;
    let Tools { names: tools, is_complete } = tools;
    let names = tool_names(tools);
    let calls = match period {
        _ if is_one_call => format!("the same call of {names}"),
        2.. if *is_complete => format!("the same {period} calls of {names}"),
        _ => format!("the same {period} calls, the latest of {names},"),
    };
    let exception = match n_unrelated {
        None => String::new(),
        Some(0) => ", not always in the same order".to_owned(),
        Some(1) => ", with 1 unrelated call in between".to_owned(),
        Some(n) => format!(", with {n} unrelated calls in between"),
    };
    let outcome = match (has_results, is_one_call) {
        (true, true) if period == 1 => "returned the same result".to_owned(),
        (true, true) => format!("returned the same {period} results in turn"),
        (true, false) => "returned the same results".to_owned(),
        (false, true) => "was made".to_owned(),
        (false, false) => "were made".to_owned(),
    };
    let missing = if has_results { "" } else { ", and not all results are known" };
    Report::new(format!("{calls} {outcome} in {rounds} rounds{took}{exception}{missing}"))
        .with("period", period)
        .with("rounds", rounds)
        .with("unrelated_calls", n_unrelated.unwrap_or_default())
        .with("tools", tools.iter().map(|tool| unquoted(tool)).collect::<Vec<_>>())
}

/// Returns the report of a call that repeats in no order.
pub(crate) fn repeated_call(latest: Occurrences, has_results: bool, tool: &Arc<str>) -> Report {
    let Occurrences { n_times, n_steps, .. } = latest;
    let condition = if has_results {
        "returned the same result for the same call"
    } else {
        "was called with the same arguments"
    };
    Report::new(format!(
        "{} {condition} {n_times} times in {n_steps} calls, with no known change in between",
        quote(tool)
    ))
    .with("times", n_times)
    .with("calls", n_steps)
    .with("tools", [unquoted(tool)].as_slice())
}

/// Returns the report of changes that are made again, `n_lost` of them because they had
/// been lost.
pub(crate) fn repeated_change(latest: Occurrences, n_lost: usize, tool: &Arc<str>) -> Report {
    let Occurrences { n_times, n_groups, n_steps } = latest;
    let name = quote(tool);
    let message = if n_groups < n_lost {
        format!("{n_lost} changes were lost and made again, the latest with {name}")
    } else {
        format!("{name} made the same change {n_times} times in {n_steps} calls")
    };
    Report::new(message)
        .with("times", n_times)
        .with("calls", n_steps)
        .with("lost_changes", n_lost)
        .with("tools", [unquoted(tool)].as_slice())
}

/// Returns the names of the first tools, quoted, as a list in English.
fn tool_names(tools: &[&str]) -> String {
    let (shown, n_more) =
        (&tools[..tools.len().min(MAX_NAMED)], tools.len().saturating_sub(MAX_NAMED));
    let mut names: Vec<String> = shown.iter().map(|tool| quote(tool)).collect();
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
