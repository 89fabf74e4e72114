//! Models of the loop guards of agents.
//!
//! Each model implements the published rule of a guard with its default thresholds, as far as events
//! contain the necessary data.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use watchkeeper_core::{Event, ToolClass};

use crate::{
    repeated_text::RepeatedText,
    reports::Reports,
    session::{Call, Step, StepKind, agents, calls, cycles, turns},
};

/// The guard of an agent.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The version or the month of the rule.
    pub(crate) of: &'static str,
    /// The prefix of the cases that come from its tests.
    pub(crate) cases: &'static str,
    /// The setting that enables a guard that is off by default.
    pub(crate) switch: Option<&'static str>,
    /// Adds the reports about the steps of one agent.
    evaluate: fn(&[Step<'_>], &mut Reports),
}

impl Peer {
    /// Returns the reports about a session, in which each agent has a guard of its own.
    pub(crate) fn reports(&self, events: &[Event]) -> Reports {
        let mut reports = Reports::default();
        for steps in agents(events) {
            (self.evaluate)(&steps, &mut reports);
        }
        reports
    }
}

/// All guards: first those on by default, then the optional ones.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "OpenHands V0",
        of: "2025-11",
        cases: "openhands__stuck",
        switch: None,
        evaluate: openhands_v0,
    },
    Peer {
        name: "OpenHands SDK",
        of: "2026-08",
        cases: "openhands__sdk",
        switch: None,
        evaluate: openhands_sdk,
    },
    Peer {
        name: "gemini-cli",
        of: "2026-08",
        cases: "gemini-cli",
        switch: None,
        evaluate: gemini_cli,
    },
    Peer {
        name: "qwen-code",
        of: "2026-08",
        cases: "qwen-code",
        switch: None,
        evaluate: qwen_code,
    },
    Peer { name: "Roo-Code", of: "2026-04", cases: "roo-code", switch: None, evaluate: roo_code },
    Peer { name: "cline", of: "2026-08", cases: "cline", switch: None, evaluate: cline },
    Peer { name: "opencode", of: "1.18", cases: "opencode", switch: None, evaluate: opencode },
    Peer { name: "crush", of: "2026-08", cases: "crush", switch: None, evaluate: crush },
    Peer { name: "stella", of: "2026-08", cases: "stella", switch: None, evaluate: stella },
    Peer { name: "forge", of: "2026-08", cases: "forge", switch: None, evaluate: forge },
    Peer {
        name: "qwen-code, all tiers",
        of: "2026-08",
        cases: "qwen-code",
        switch: Some("`skipLoopDetection: false`"),
        evaluate: qwen_code_all,
    },
    Peer {
        name: "goose",
        of: "2026-11",
        cases: "goose__repetition",
        switch: Some("3 repetitions allowed"),
        evaluate: goose,
    },
    Peer {
        name: "forks of goose",
        of: "2026-11",
        cases: "goose__fork",
        switch: Some("REP-001 at 3, REP-002, REP-003, no retries"),
        evaluate: goose_forks,
    },
    Peer {
        name: "OpenRouter SDK",
        of: "2026-08",
        cases: "openrouter",
        switch: Some("its ladder: 2, 3, 6"),
        evaluate: openrouter,
    },
    Peer {
        name: "openclaw",
        of: "2026",
        cases: "openclaw",
        switch: Some("its thresholds: 10, 20"),
        evaluate: openclaw,
    },
];

/// OpenHands V0, `controller/stuck.py`, 2025-11, in headless mode: ignores prompts. Compares the
/// exit codes of commands, not their output. A message before a call is part of the call.
fn openhands_v0(steps: &[Step<'_>], reports: &mut Reports) {
    let is_action = |it: &&Step<'_>| it.as_call().is_some() || it.pieces().is_some();
    let actions: Vec<&Step<'_>> = steps.iter().filter(is_action).collect();
    let is_call = |it: Option<&&Step<'_>>| it.is_some_and(|it| it.as_call().is_some());
    let is_own_action = |idx: &usize| is_call(actions.get(*idx)) || !is_call(actions.get(idx + 1));
    let actions: Vec<&Step<'_>> =
        (0..actions.len()).filter(is_own_action).map(|idx| actions[idx]).collect();
    let both = |is_same: fn(&Call<'_>, &Call<'_>) -> bool| {
        move |a: &&Step<'_>, b: &&Step<'_>| {
            a.as_call().zip(b.as_call()).is_some_and(|(a, b)| is_same(a, b))
        }
    };
    reports.stop(&actions, cycles(&actions, 1, 4, both(is_same_pair)));
    reports.stop(&actions, cycles(&actions, 2, 3, both(is_same_pair)));
    let fails = |a: &Call<'_>, b: &Call<'_>| a.is_same_call(b) && a.failed() && b.failed();
    reports.stop(&actions, cycles(&actions, 1, 3, both(fails)));
    reports.stop(&actions, cycles(&actions, 1, 3, both(is_same_syntax_error)));
    let has_result = |it: &&&Step<'_>| it.as_call().is_none_or(|it| it.result.is_some());
    let finished: Vec<&Step<'_>> = actions.iter().filter(has_result).copied().collect();
    let is_same_message =
        |a: &&Step<'_>, b: &&Step<'_>| a.message().is_some() && a.message() == b.message();
    reports.stop(&finished, cycles(&finished, 1, 3, is_same_message));

    let is_compaction = |it: &&Step<'_>| matches!(it.kind, StepKind::Compaction);
    let is_prompt = |it: &&Step<'_>| matches!(it.kind, StepKind::Prompt);
    let without_prompts: Vec<&Step<'_>> = steps.iter().filter(|it| !is_prompt(it)).collect();
    let pairs = cycles(&without_prompts, 1, 2, |a, b| is_compaction(a) && is_compaction(b));
    if let Some(first_pair) = pairs.min() {
        reports.stop_where(&without_prompts, |idx, step| {
            let so_far = &without_prompts[..=idx];
            first_pair <= idx
                && is_compaction(step)
                && 10 <= so_far.iter().filter(|it| is_compaction(it)).count()
        });
    }
}

fn is_notebook(call: &Call<'_>) -> bool {
    call.tool().contains("ipython")
}

fn is_same_pair(a: &Call<'_>, b: &Call<'_>) -> bool {
    let code = |it: &Call<'_>| it.result.map(|it| it.exit_code.unwrap_or(i32::from(!it.ok)));
    if a.is(ToolClass::Run) && !is_notebook(a) {
        a.is_same_call(b) && a.result.is_some() && code(a) == code(b)
    } else {
        a.repeats(b)
    }
}

/// Returns whether two notebook runs end with the same syntax error on the same line of the cell.
fn is_same_syntax_error(a: &Call<'_>, b: &Call<'_>) -> bool {
    fn error<'a>(call: &Call<'a>) -> Option<(&'a str, &'a str)> {
        let mut lines = call.output().lines().filter(|it| !it.starts_with("[Jupyter"));
        let line = lines.clone().find(|it| it.contains("Cell In["))?;
        let last = lines.rfind(|it| !it.trim().is_empty())?;
        last.starts_with("SyntaxError").then_some((line, last))
    }
    is_notebook(a) && a.is_same_call(b) && error(a).is_some() && error(a) == error(b)
}

/// OpenHands SDK, `conversation/stuck_detector.py`, 2026-08. A prompt resets the count. The thought
/// before a call is part of the call.
fn openhands_sdk(steps: &[Step<'_>], reports: &mut Reports) {
    for turn in turns(steps) {
        let is_same = |a: &&Call<'_>, b: &&Call<'_>| a.thought == b.thought && a.repeats(b);
        let fails = |a: &&Call<'_>, b: &&Call<'_>| {
            a.thought == b.thought && a.is_same_call(b) && a.failed() && b.failed()
        };
        let is_message = |it: &Step<'_>| it.pieces().is_some();
        let calls = calls(turn);
        reports.stop(&calls, cycles(&calls, 1, 4, is_same));
        reports.stop(&calls, cycles(&calls, 2, 3, is_same));
        reports.stop(&calls, cycles(&calls, 1, 4, fails));
        reports.stop(turn, cycles(turn, 1, 3, |a, b| is_message(a) && is_message(b)));
        reports.warn(&calls, cycles(&calls, 1, 3, fails));
    }
}

/// gemini-cli, `services/loopDetectionService.ts`, 2026-08, without its query to a model after 30
/// turns. Compares calls without their results.
fn gemini_cli(steps: &[Step<'_>], reports: &mut Reports) {
    let repeated_text = RepeatedText { history: 5_000, max_distance: 250, dashes_are_items: false };
    for turn in turns(steps) {
        let calls = calls(turn);
        for period in 1..=5 {
            reports.stop(&calls, cycles(&calls, period, 5, |a, b| a.is_same_text(b)));
        }
        reports.stop_where(turn, |_, it| it.pieces().is_some_and(|it| repeated_text.is_in(it)));
    }
}

/// qwen-code, `services/loopDetectionService.ts`, 2026-08: the rules that are always on, including
/// the soft and the hard limit on the calls of a turn.
fn qwen_code(steps: &[Step<'_>], reports: &mut Reports) {
    for turn in turns(steps) {
        let calls = calls(turn);
        reports.stop(&calls, cycles(&calls, 1, 5, |a, b| is_same_poll(a, b)));
        let reads = |a: &&Call<'_>, b: &&Call<'_>| reads_git_state(a) && reads_git_state(b);
        reports.stop(&calls, cycles(&calls, 1, 8, reads));
        let sixth = (0..calls.len()).find(|last| 6 <= n_same_calls(&calls[..=*last]));
        let limit = sixth.map_or(1_000, |sixth| (sixth + 1).clamp(100, 1_000));
        reports.stop(&calls, limit - 1..calls.len());
    }
}

/// Returns the number of calls that equal the last one, which is included.
fn n_same_calls(calls: &[&Call<'_>]) -> usize {
    calls.last().map_or(0, |last| calls.iter().filter(|it| it.is_same_call(last)).count())
}

/// Returns whether two calls are equal. Calls of `task_list` must also have the same result, if both
/// results are present.
fn is_same_poll(a: &Call<'_>, b: &Call<'_>) -> bool {
    let is_progress = a.tool() == "task_list"
        && a.result.is_some()
        && b.result.is_some()
        && !a.has_same_result(b);
    a.is_same_call(b) && !is_progress
}

/// Returns whether a call is a read-only git command about the whole tree.
fn reads_git_state(call: &Call<'_>) -> bool {
    let command = call.arguments["command"].as_str().unwrap_or_default();
    let mut words = command.split_whitespace();
    let is_git = words.next() == Some("git");
    let is_read = matches!(words.next(), Some("status" | "diff" | "log" | "show" | "ls-files"));
    is_git && is_read && words.all(|it| it.starts_with('-') && it.len() > 2)
}

/// qwen-code with the rules that are off by default. According to its tests, different commands do
/// not count as calls of the same tool.
fn qwen_code_all(steps: &[Step<'_>], reports: &mut Reports) {
    let repeated_text = RepeatedText { history: 1_000, max_distance: 75, dashes_are_items: true };
    qwen_code(steps, reports);
    for turn in turns(steps) {
        let calls = calls(turn);
        for (idx, call) in calls.iter().enumerate() {
            if n_same_calls(&calls[..=idx]) == 1 {
                let same: Vec<_> =
                    calls[idx..].iter().filter(|it| it.is_same_call(call)).copied().collect();
                reports.stop(&same, cycles(&same, 1, 6, |a, b| is_same_poll(a, b)));
            }
        }
        reports.stop(&calls, cycles(&calls, 2, 3, |a, b| is_same_poll(a, b)));
        let work = calls.iter().position(|it| !it.is(ToolClass::Read)).unwrap_or(calls.len());
        let reads_on = |last: usize| {
            let recent = &calls[work.max(last.saturating_sub(14))..=last];
            8 <= recent.iter().filter(|it| it.is(ToolClass::Read)).count()
        };
        reports.stop(&calls, (work..calls.len()).filter(|last| reads_on(*last)));
        let is_same_tool =
            |a: &&Call<'_>, b: &&Call<'_>| a.tool() == b.tool() && !a.is(ToolClass::Run);
        reports.stop(&calls, cycles(&calls, 1, 8, is_same_tool));
        let is_same_thought = |a: &Step<'_>, b: &Step<'_>| match (&a.kind, &b.kind) {
            (StepKind::Thinking(a), StepKind::Thinking(b)) => !a.is_empty() && a == b,
            _ => false,
        };
        reports.stop(turn, cycles(turn, 1, 3, is_same_thought));
        reports.stop_where(turn, |_, it| it.pieces().is_some_and(|it| repeated_text.is_in(it)));
    }
}

/// Roo-Code, `ToolRepetitionDetector.ts`, 2026-04: four equal calls in a row, or three mistakes in a
/// row. A command that fails is not a mistake.
fn roo_code(steps: &[Step<'_>], reports: &mut Reports) {
    let calls = calls(steps);
    let is_mistake = |it: &Call<'_>| it.failed() && !it.is(ToolClass::Run);
    reports.stop(&calls, cycles(&calls, 1, 4, |a, b| a.is_same_call(b)));
    reports.stop(&calls, cycles(&calls, 1, 3, |a, b| is_mistake(a) && is_mistake(b)));
}

/// cline SDK, `runtime/safety`, 2026-08: warns after three equal calls, and stops after five or
/// after six mistakes in a row.
fn cline(steps: &[Step<'_>], reports: &mut Reports) {
    let calls = calls(steps);
    reports.stop(&calls, cycles(&calls, 1, 5, |a, b| a.is_same_call(b)));
    reports.stop(&calls, cycles(&calls, 1, 6, |a, b| a.failed() && b.failed()));
    reports.warn(&calls, cycles(&calls, 1, 3, |a, b| a.is_same_call(b)));
}

/// opencode, `session/processor.ts`, 1.18: the last three parts of a message are the same call. A
/// call without a message id counts as a message of its own.
fn opencode(steps: &[Step<'_>], reports: &mut Reports) {
    let is_same = |a: &Call<'_>, b: &Call<'_>| {
        a.made.response.is_some() && a.made.response == b.made.response && a.is_same_call(b)
    };
    let is_same = |a: &Step<'_>, b: &Step<'_>| {
        a.as_call().zip(b.as_call()).is_some_and(|(a, b)| is_same(a, b))
    };
    reports.stop(steps, cycles(steps, 1, 3, is_same));
}

/// Returns the calls, grouped by response of the model.
fn by_response<'s, 'a>(steps: &'s [Step<'a>]) -> Vec<Vec<&'s Call<'a>>> {
    let mut groups: Vec<Vec<&Call<'_>>> = Vec::new();
    for call in calls(steps) {
        match groups.last_mut() {
            Some(group)
                if call.made.response.is_some() && group[0].made.response == call.made.response =>
            {
                group.push(call);
            }
            _ => groups.push(vec![call]),
        }
    }
    groups
}

/// crush, `agent/loop_detection.go`, 2026-08: six of the last ten responses have the same calls with
/// the same results.
fn crush(steps: &[Step<'_>], reports: &mut Reports) {
    let is_same = |a: &[&Call<'_>], b: &[&Call<'_>]| {
        let mut pairs = a.iter().zip(b);
        let is_same =
            |(a, b): (&&Call<'_>, &&Call<'_>)| a.is_same_text(b) && a.output() == b.output();
        a.len() == b.len() && pairs.all(is_same)
    };
    let has_six = |recent: &[Vec<&Call<'_>>]| {
        recent.iter().any(|it| 6 <= recent.iter().filter(|other| is_same(it, other)).count())
    };
    let responses = by_response(steps);
    let ends = 9..responses.len();
    reports.stop(&responses, ends.filter(|last| has_six(&responses[last - 9..=*last])));
}

/// stella, `loop_detect.rs`, 2026-08. Ignores calls without a result.
///
/// Its third rule requires that there was no progress. The model counts a successful write as
/// progress, and a call whose result differs from an earlier one.
fn stella(steps: &[Step<'_>], reports: &mut Reports) {
    for turn in turns(steps) {
        let calls = calls(turn);
        let is_progress = |span: &[&Call<'_>]| {
            span.iter().any(|call| {
                let has_new_result =
                    |other: &&Call<'_>| call.is_same_call(other) && !call.has_same_result(other);
                (call.is(ToolClass::Write) && call.result.is_some_and(|it| it.ok))
                    || span.iter().any(has_new_result)
            })
        };
        let occurs_three_times = |last: usize, call: &&Call<'_>| {
            let mut same = (0..=last).rev().filter(|idx| calls[*idx].repeats(call));
            same.nth(2).is_some_and(|first| !is_progress(&calls[first..=last]))
        };
        let stagnates = |a: &&Call<'_>, b: &&Call<'_>| {
            a.tool() == b.tool() && !a.is_same_call(b) && a.has_same_result(b)
        };
        for period in 1..=4 {
            reports.stop(&calls, cycles(&calls, period, 3, |a, b| a.repeats(b)));
        }
        reports.stop_where(&calls, occurs_three_times);
        reports.stop(&calls, cycles(&calls, 1, 6, stagnates));
    }
}

/// forge, `hooks/doom_loop.rs`, 2026-08: a cycle of calls of any length three times in a row,
/// whatever their results, or three failures of one tool in a turn without a success of this tool.
fn forge(steps: &[Step<'_>], reports: &mut Reports) {
    let all = calls(steps);
    for period in 1..=all.len() / 3 {
        reports.stop(&all, cycles(&all, period, 3, |a, b| a.is_same_call(b)));
    }
    for turn in turns(steps) {
        let calls = calls(turn);
        let mut n_failures: BTreeMap<&str, usize> = BTreeMap::new();
        for (idx, call) in calls.iter().enumerate() {
            let n = n_failures.entry(call.tool()).or_default();
            *n = if call.failed() { *n + 1 } else { 0 };
            if 3 <= *n {
                reports.stop(&calls, [idx]);
            }
        }
    }
}

/// goose, `tool_monitor.rs`, 2026-11: denies the fourth equal call in a row.
fn goose(steps: &[Step<'_>], reports: &mut Reports) {
    let calls = calls(steps);
    reports.stop(&calls, cycles(&calls, 1, 4, |a, b| a.is_same_call(b)));
}

/// Forks of goose, 2026-11. A prompt resets the count. REP-002: the same error of one tool three
/// times. REP-003: one path read five times without a write in between. Repeating a failed call
/// unchanged also counts.
fn goose_forks(steps: &[Step<'_>], reports: &mut Reports) {
    fn error<'a>(call: &Call<'a>) -> &'a str {
        let output = call.output();
        let code = output.lines().find(|it| it.starts_with("error["));
        let cut = output.char_indices().nth(100).map_or(output.len(), |(at, _)| at);
        code.unwrap_or(&output[..cut])
    }
    for turn in turns(steps) {
        let calls = calls(turn);
        reports.stop(&calls, cycles(&calls, 1, 4, |a, b| a.is_same_call(b)));
        let tools: BTreeSet<&str> = calls.iter().map(|it| it.tool()).collect();
        for tool in tools {
            let of_tool: Vec<_> = calls.iter().filter(|it| it.tool() == tool).copied().collect();
            let has_same_error =
                |a: &&Call<'_>, b: &&Call<'_>| a.failed() && b.failed() && error(a) == error(b);
            // The next call is denied.
            let next = cycles(&of_tool, 1, 3, has_same_error).map(|idx| idx + 1);
            reports.stop(&of_tool, next.filter(|idx| *idx < of_tool.len()));
        }
        for calls in calls.split(|it| it.is(ToolClass::Write)) {
            let mut n_reads: BTreeMap<&str, usize> = BTreeMap::new();
            for (idx, call) in calls.iter().enumerate().filter(|(_, it)| it.is(ToolClass::Read)) {
                let Some(path) = call.arguments["path"].as_str() else { continue };
                let n = n_reads.entry(path).or_default();
                *n += 1;
                if 5 <= *n {
                    reports.stop(calls, [idx]);
                }
            }
        }
        let tries_again = |idx: usize, call: &&Call<'_>| {
            calls[..idx].iter().any(|it| it.failed() && it.is_same_call(call))
        };
        reports.stop_where(&calls, tries_again);
    }
}

/// OpenRouter SDK, 2026-08: the same call of a tool in 2, 3 and 6 consecutive responses that call
/// the tool, or a block of words four times at the end of a message, at least 12 words in total.
fn openrouter(steps: &[Step<'_>], reports: &mut Reports) {
    let responses = by_response(steps);
    let tools: BTreeSet<&str> = responses.iter().flatten().map(|it| it.tool()).collect();
    for tool in tools {
        let calls_tool = |round: &&Vec<&Call<'_>>| round.iter().any(|it| it.tool() == tool);
        let of_tool: Vec<_> = responses.iter().filter(calls_tool).collect();
        let is_same = |a: &&Vec<&Call<'_>>, b: &&Vec<&Call<'_>>| {
            a.iter().any(|a| a.tool() == tool && b.iter().any(|b| a.is_same_call(b)))
        };
        reports.warn(&of_tool, cycles(&of_tool, 1, 2, is_same));
        reports.stop(&of_tool, cycles(&of_tool, 1, 3, is_same));
    }
    let ends_in_repetition = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        (3..=words.len() / 4).any(|period| {
            let last = &words[words.len() - 4 * period..];
            cycles(last, period, 4, |a, b| a == b).next().is_some()
        })
    };
    reports.stop_where(steps, |_, it| it.message().is_some_and(|text| ends_in_repetition(&text)));
}

/// openclaw, 2026: warns after 10 equal calls among the last 30, and stops after 20 with the same
/// result. The same for two alternating calls. Also stops after ten calls of an unknown tool.
fn openclaw(steps: &[Step<'_>], reports: &mut Reports) {
    for turn in turns(steps) {
        let calls = calls(turn);
        let is_unknown = |it: &Call<'_>| it.failed() && it.output().ends_with("not found");
        reports.stop(&calls, cycles(&calls, 1, 20, |a, b| a.repeats(b)));
        reports.stop(&calls, cycles(&calls, 2, 10, |a, b| a.repeats(b)));
        let is_same_unknown_tool =
            |a: &&Call<'_>, b: &&Call<'_>| a.tool() == b.tool() && is_unknown(a) && is_unknown(b);
        reports.stop(&calls, cycles(&calls, 1, 10, is_same_unknown_tool));
        let has_many = |last: &usize| 10 <= n_same_calls(&calls[last.saturating_sub(29)..=*last]);
        reports.warn(&calls, (0..calls.len()).filter(has_many));
        reports.warn(&calls, cycles(&calls, 2, 5, |a, b| a.is_same_call(b)));
    }
}
