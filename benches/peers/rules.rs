//! Models of the loop guards of agents.
//!
//! Each model implements the published rule of a guard with its default thresholds, as far as events
//! contain the necessary data.

use std::collections::{BTreeMap, BTreeSet};

use watchkeeper_core::ToolClass;

use crate::{
    repeated_text::RepeatedText,
    session::{Call, Step, calls, cycles, turns},
};

/// The response of a guard to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Response {
    /// The first step of a guard that escalates: a log entry, or a warning to the model.
    Warn,
    /// The last or only step.
    Stop,
}

/// The guard of an agent.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The version or the month of the rule.
    pub(crate) of: &'static str,
    /// The prefix of the cases that come from its tests.
    pub(crate) cases: &'static str,
    /// The setting that enables a guard that is off by default.
    pub(crate) switch: Option<&'static str>,
    /// Returns the strongest response to a session.
    pub(crate) evaluate: fn(&[Step<'_>]) -> Option<Response>,
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

fn stop_if(condition: bool) -> Option<Response> {
    condition.then_some(Response::Stop)
}

fn warn_if(condition: bool) -> Option<Response> {
    condition.then_some(Response::Warn)
}

/// OpenHands V0, `controller/stuck.py`, 2025-11, in headless mode: ignores prompts. Compares the
/// exit codes of commands, not their output.
fn openhands_v0(steps: &[Step<'_>]) -> Option<Response> {
    let is_action = |it: &&Step<'_>| matches!(it, Step::Call(_) | Step::Message(_));
    let actions: Vec<&Step<'_>> = steps.iter().filter(is_action).collect();
    let both = |is_same: fn(&Call<'_>, &Call<'_>) -> bool| {
        move |a: &&Step<'_>, b: &&Step<'_>| {
            a.as_call().zip(b.as_call()).is_some_and(|(a, b)| is_same(a, b))
        }
    };
    let has_result = |it: &&&Step<'_>| it.as_call().is_none_or(|it| it.result.is_some());
    let finished: Vec<&Step<'_>> = actions.iter().filter(has_result).copied().collect();
    let is_compaction = |it: &&Step<'_>| matches!(it, Step::Compaction);
    let without_prompts: Vec<&Step<'_>> =
        steps.iter().filter(|it| !matches!(it, Step::Prompt)).collect();
    stop_if(
        cycles(&actions, 1, 4, both(is_same_pair))
            || cycles(&actions, 2, 3, both(is_same_pair))
            || cycles(&actions, 1, 3, both(|a, b| a.is_same_call(b) && a.failed() && b.failed()))
            || cycles(&actions, 1, 3, both(is_same_syntax_error))
            || cycles(&finished, 1, 3, |a, b| a.message().is_some() && a.message() == b.message())
            || (10 <= without_prompts.iter().filter(|it| is_compaction(it)).count()
                && cycles(&without_prompts, 1, 2, |a, b| is_compaction(a) && is_compaction(b))),
    )
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
fn openhands_sdk(steps: &[Step<'_>]) -> Option<Response> {
    let of_turn = |turn: &[Step<'_>]| {
        let is_same = |a: &&Call<'_>, b: &&Call<'_>| a.thought == b.thought && a.repeats(b);
        let fails = |a: &&Call<'_>, b: &&Call<'_>| {
            a.thought == b.thought && a.is_same_call(b) && a.failed() && b.failed()
        };
        let is_message = |it: &Step<'_>| matches!(it, Step::Message(_));
        let calls = calls(turn);
        stop_if(
            cycles(&calls, 1, 4, is_same)
                || cycles(&calls, 2, 3, is_same)
                || cycles(&calls, 1, 4, fails)
                || cycles(turn, 1, 3, |a, b| is_message(a) && is_message(b)),
        )
        .or(warn_if(cycles(&calls, 1, 3, fails)))
    };
    turns(steps).filter_map(of_turn).max()
}

/// gemini-cli, `services/loopDetectionService.ts`, 2026-08, without its query to a model after 30
/// turns. Compares calls without their results.
fn gemini_cli(steps: &[Step<'_>]) -> Option<Response> {
    let repeated_text = RepeatedText { history: 5_000, max_distance: 250, dashes_are_items: false };
    stop_if(turns(steps).any(|turn| {
        let calls = calls(turn);
        (1..=5).any(|period| cycles(&calls, period, 5, |a, b| a.is_same_text(b)))
            || turn.iter().any(|it| matches!(it, Step::Message(it) if repeated_text.is_in(it)))
    }))
}

/// qwen-code, `services/loopDetectionService.ts`, 2026-08: the rules that are always on, including
/// the soft and the hard limit on the calls of a turn.
fn qwen_code(steps: &[Step<'_>]) -> Option<Response> {
    stop_if(turns(steps).any(|turn| {
        let calls = calls(turn);
        let has_frequent_call = || {
            calls.iter().any(|it| 6 <= calls.iter().filter(|other| it.is_same_call(other)).count())
        };
        cycles(&calls, 1, 5, |a, b| is_same_poll(a, b))
            || cycles(&calls, 1, 8, |a, b| reads_git_state(a) && reads_git_state(b))
            || (100 <= calls.len() && has_frequent_call())
            || 1_000 <= calls.len()
    }))
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
fn qwen_code_all(steps: &[Step<'_>]) -> Option<Response> {
    let repeated_text = RepeatedText { history: 1_000, max_distance: 75, dashes_are_items: true };
    let of_turn = |turn: &[Step<'_>]| {
        let calls = calls(turn);
        let is_repeated = |call: &&Call<'_>| {
            let same: Vec<_> = calls.iter().filter(|it| it.is_same_call(call)).collect();
            cycles(&same, 1, 6, |a, b| is_same_poll(a, b))
        };
        let work = calls.iter().position(|it| !it.is(ToolClass::Read)).unwrap_or(calls.len());
        let reads_on = (work..calls.len()).any(|last| {
            let recent = &calls[work.max(last.saturating_sub(14))..=last];
            8 <= recent.iter().filter(|it| it.is(ToolClass::Read)).count()
        });
        calls.iter().any(is_repeated)
            || cycles(&calls, 2, 3, |a, b| is_same_poll(a, b))
            || reads_on
            || cycles(&calls, 1, 8, |a, b| a.tool() == b.tool() && !a.is(ToolClass::Run))
            || cycles(turn, 1, 3, |a, b| match (a, b) {
                (Step::Thinking(a), Step::Thinking(b)) => !a.is_empty() && a == b,
                _ => false,
            })
            || turn.iter().any(|it| matches!(it, Step::Message(it) if repeated_text.is_in(it)))
    };
    qwen_code(steps).or(stop_if(turns(steps).any(of_turn)))
}

/// Roo-Code, `ToolRepetitionDetector.ts`, 2026-04: four equal calls in a row, or three mistakes in a
/// row. A command that fails is not a mistake.
fn roo_code(steps: &[Step<'_>]) -> Option<Response> {
    let calls = calls(steps);
    let is_mistake = |it: &Call<'_>| it.failed() && !it.is(ToolClass::Run);
    stop_if(
        cycles(&calls, 1, 4, |a, b| a.is_same_call(b))
            || cycles(&calls, 1, 3, |a, b| is_mistake(a) && is_mistake(b)),
    )
}

/// cline SDK, `runtime/safety`, 2026-08: warns after three equal calls, and stops after five or
/// after six mistakes in a row.
fn cline(steps: &[Step<'_>]) -> Option<Response> {
    let calls = calls(steps);
    stop_if(
        cycles(&calls, 1, 5, |a, b| a.is_same_call(b))
            || cycles(&calls, 1, 6, |a, b| a.failed() && b.failed()),
    )
    .or(warn_if(cycles(&calls, 1, 3, |a, b| a.is_same_call(b))))
}

/// opencode, `session/processor.ts`, 1.18: the last three parts of a message are the same call. A
/// call without a message id counts as a message of its own.
fn opencode(steps: &[Step<'_>]) -> Option<Response> {
    let is_same = |a: &Call<'_>, b: &Call<'_>| {
        a.made.response.is_some() && a.made.response == b.made.response && a.is_same_call(b)
    };
    stop_if(cycles(steps, 1, 3, |a, b| {
        a.as_call().zip(b.as_call()).is_some_and(|(a, b)| is_same(a, b))
    }))
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
fn crush(steps: &[Step<'_>]) -> Option<Response> {
    let is_same = |a: &[&Call<'_>], b: &[&Call<'_>]| {
        let mut pairs = a.iter().zip(b);
        let is_same =
            |(a, b): (&&Call<'_>, &&Call<'_>)| a.is_same_text(b) && a.output() == b.output();
        a.len() == b.len() && pairs.all(is_same)
    };
    let has_six = |recent: &[Vec<&Call<'_>>]| {
        recent.iter().any(|it| 6 <= recent.iter().filter(|other| is_same(it, other)).count())
    };
    stop_if(by_response(steps).windows(10).any(has_six))
}

/// stella, `loop_detect.rs`, 2026-08. Ignores calls without a result.
///
/// Its third rule requires that there was no progress. The model counts a successful write as
/// progress, and a call whose result differs from an earlier one.
fn stella(steps: &[Step<'_>]) -> Option<Response> {
    let of_turn = |turn: &[Step<'_>]| {
        let calls = calls(turn);
        let is_progress = |span: &[&Call<'_>]| {
            span.iter().any(|call| {
                let has_new_result =
                    |other: &&Call<'_>| call.is_same_call(other) && !call.has_same_result(other);
                (call.is(ToolClass::Write) && call.result.is_some_and(|it| it.ok))
                    || span.iter().any(has_new_result)
            })
        };
        let occurs_three_times = |(last, call): (usize, &&Call<'_>)| {
            let mut same = (0..=last).rev().filter(|idx| calls[*idx].repeats(call));
            same.nth(2).is_some_and(|first| !is_progress(&calls[first..=last]))
        };
        let stagnates = |a: &&Call<'_>, b: &&Call<'_>| {
            a.tool() == b.tool() && !a.is_same_call(b) && a.has_same_result(b)
        };
        (1..=4).any(|period| cycles(&calls, period, 3, |a, b| a.repeats(b)))
            || calls.iter().enumerate().any(occurs_three_times)
            || cycles(&calls, 1, 6, stagnates)
    };
    stop_if(turns(steps).any(of_turn))
}

/// forge, `hooks/doom_loop.rs`, 2026-08: a cycle of calls of any length three times in a row, or
/// three failures of one tool in a turn. Ignores results.
fn forge(steps: &[Step<'_>]) -> Option<Response> {
    let all = calls(steps);
    let fails = |turn: &[Step<'_>]| {
        let mut by_tool: BTreeMap<&str, usize> = BTreeMap::new();
        for call in calls(turn).into_iter().filter(|it| it.failed()) {
            *by_tool.entry(call.tool()).or_default() += 1;
        }
        by_tool.values().any(|it| 3 <= *it)
    };
    stop_if(
        (1..=all.len() / 3).any(|period| cycles(&all, period, 3, |a, b| a.is_same_call(b)))
            || turns(steps).any(fails),
    )
}

/// goose, `tool_monitor.rs`, 2026-11: denies the fourth equal call in a row.
fn goose(steps: &[Step<'_>]) -> Option<Response> {
    stop_if(cycles(&calls(steps), 1, 4, |a, b| a.is_same_call(b)))
}

/// Forks of goose, 2026-11. A prompt resets the count. REP-002: the same error of one tool three
/// times. REP-003: one path read five times without a write in between. Repeating a failed call
/// unchanged also counts.
fn goose_forks(steps: &[Step<'_>]) -> Option<Response> {
    fn error<'a>(call: &Call<'a>) -> &'a str {
        let output = call.output();
        let code = output.lines().find(|it| it.starts_with("error["));
        let cut = output.char_indices().nth(100).map_or(output.len(), |(at, _)| at);
        code.unwrap_or(&output[..cut])
    }
    let of_turn = |turn: &[Step<'_>]| {
        let calls = calls(turn);
        let tools: BTreeSet<&str> = calls.iter().map(|it| it.tool()).collect();
        let has_one_error = |tool: &str| {
            let of_tool: Vec<_> = calls.iter().filter(|it| it.tool() == tool).collect();
            let Some((_, before_last)) = of_tool.split_last() else { return false };
            cycles(before_last, 1, 3, |a, b| a.failed() && b.failed() && error(a) == error(b))
        };
        let reads_on = calls.split(|it| it.is(ToolClass::Write)).any(|calls| {
            let path = |it: &&Call<'_>| it.arguments["path"].as_str().map(str::to_owned);
            let reads = calls.iter().filter(|it| it.is(ToolClass::Read)).filter_map(path);
            let mut by_path: BTreeMap<String, usize> = BTreeMap::new();
            reads.for_each(|it| *by_path.entry(it).or_default() += 1);
            by_path.values().any(|it| 5 <= *it)
        });
        let tries_again = |(idx, call): (usize, &&Call<'_>)| {
            calls[..idx].iter().any(|it| it.failed() && it.is_same_call(call))
        };
        cycles(&calls, 1, 4, |a, b| a.is_same_call(b))
            || tools.into_iter().any(has_one_error)
            || reads_on
            || calls.iter().enumerate().any(tries_again)
    };
    stop_if(turns(steps).any(of_turn))
}

/// OpenRouter SDK, 2026-08: the same call of a tool in 2, 3 and 6 consecutive responses that call
/// the tool, or a block of words four times at the end of a message, at least 12 words in total.
fn openrouter(steps: &[Step<'_>]) -> Option<Response> {
    let responses = by_response(steps);
    let tools: BTreeSet<&str> = responses.iter().flatten().map(|it| it.tool()).collect();
    let streak = |n| {
        tools.iter().any(|tool| {
            let of_tool = |round: &Vec<&Call<'_>>| round.iter().any(|it| it.tool() == *tool);
            let of_tool: Vec<_> = responses.iter().filter(|it| of_tool(it)).collect();
            cycles(&of_tool, 1, n, |a, b| {
                a.iter().any(|a| a.tool() == *tool && b.iter().any(|b| a.is_same_call(b)))
            })
        })
    };
    let ends_in_repetition = |text: String| {
        let words: Vec<&str> = text.split_whitespace().collect();
        (3..=words.len() / 4)
            .any(|period| cycles(&words[words.len() - 4 * period..], period, 4, |a, b| a == b))
    };
    stop_if(streak(3) || steps.iter().filter_map(Step::message).any(ends_in_repetition))
        .or(warn_if(streak(2)))
}

/// openclaw, 2026: warns after 10 equal calls among the last 30, and stops after 20 with the same
/// result. The same for two alternating calls. Also stops after ten calls of an unknown tool.
fn openclaw(steps: &[Step<'_>]) -> Option<Response> {
    let of_turn = |turn: &[Step<'_>]| {
        let calls = calls(turn);
        let has_many = |recent: &[&Call<'_>]| {
            recent
                .iter()
                .any(|it| 10 <= recent.iter().filter(|other| it.is_same_call(other)).count())
        };
        let is_unknown = |it: &Call<'_>| it.failed() && it.output().ends_with("not found");
        stop_if(
            cycles(&calls, 1, 20, |a, b| a.repeats(b))
                || cycles(&calls, 2, 10, |a, b| a.repeats(b))
                || cycles(&calls, 1, 10, |a, b| {
                    a.tool() == b.tool() && is_unknown(a) && is_unknown(b)
                }),
        )
        .or(warn_if(
            calls.windows(30.min(calls.len()).max(1)).any(has_many)
                || cycles(&calls, 2, 5, |a, b| a.is_same_call(b)),
        ))
    };
    turns(steps).filter_map(of_turn).max()
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Event;
    use watchkeeper_testing::Trace;

    use super::{PEERS, Response};
    use crate::session;

    #[test]
    fn the_same_call_with_the_same_result() {
        for (name, at) in [
            ("OpenHands V0", 4),
            ("OpenHands SDK", 4),
            ("gemini-cli", 5),
            ("qwen-code", 5),
            ("Roo-Code", 4),
            ("cline", 5),
            ("stella", 3),
            ("forge", 3),
            ("goose", 4),
            ("forks of goose", 4),
            ("OpenRouter SDK", 3),
            ("openclaw", 20),
        ] {
            stops_at(name, at, |n| rounds(n, r#"call ls {"dir": "src"} ;; result ok a b"#));
        }
    }

    #[test]
    fn guards_that_escalate_warn_first() {
        for (name, at, round) in [
            ("cline", 3, "call ls src"),
            ("OpenRouter SDK", 2, "call ls src"),
            ("openclaw", 10, "call ls src"),
            ("OpenHands SDK", 3, "call make ;; result fail no rule"),
        ] {
            assert_eq!(evaluate(name, &rounds(at - 1, round)), None, "{name}");
            assert_eq!(evaluate(name, &rounds(at, round)), Some(Response::Warn), "{name}");
        }
    }

    #[test]
    fn two_alternating_calls() {
        for (name, at) in [
            ("OpenHands V0", 3),
            ("OpenHands SDK", 3),
            ("gemini-cli", 5),
            ("qwen-code, all tiers", 3),
            ("stella", 3),
            ("forge", 3),
            ("openclaw", 10),
        ] {
            let round = "call ls src ;; result ok a ;; call cat a ;; result ok text";
            stops_at(name, at, |n| rounds(n, round));
        }
    }

    #[test]
    fn changing_results_reset_guards_that_compare_results() {
        let poll = |n| rounds(n, "call ls src ;; result ok {} files");
        for name in ["OpenHands V0", "OpenHands SDK", "crush", "stella"] {
            assert_eq!(evaluate(name, &poll(30)), None, "{name}");
        }
        for name in ["gemini-cli", "qwen-code", "Roo-Code", "cline", "forge"] {
            assert_eq!(evaluate(name, &poll(5)), Some(Response::Stop), "{name}");
        }
        let board = |n| poll(n).replace("call ls", "call task_list");
        assert_eq!(evaluate("qwen-code", &board(30)), None);
        let commands = |n| poll(n).replace("call ls", "call bash");
        stops_at("OpenHands V0", 4, commands);
    }

    #[test]
    fn repeated_errors() {
        stops_at("OpenHands V0", 3, |n| rounds(n, "call edit a ;; result fail no such line"));
        stops_at("OpenHands SDK", 4, |n| rounds(n, "call edit a ;; result fail no such line"));
        let vary = |n| rounds(n, "call edit {} ;; result fail no such line {}");
        stops_at("Roo-Code", 3, vary);
        stops_at("cline", 6, vary);
        stops_at("forge", 3, vary);
        let same = |n| rounds(n, "call jump {} ;; result fail not found");
        stops_at("openclaw", 10, same);
        stops_at("forks of goose", 4, same);
        assert_eq!(evaluate("forks of goose", "0s call ls\n1s result declined\n2s call ls"), None);
        stops_at("forks of goose", 2, |n| rounds(n, "call ls ;; result fail no such folder"));
    }

    #[test]
    fn a_notebook_fails_on_the_same_line() {
        let moving =
            r#"call ipython x ;; result ok "Cell In[1], line {}\nSyntaxError: bad\n[Jupyter]""#;
        stops_at("OpenHands V0", 3, |n| rounds(n, &moving.replace("{}", "7")));
        assert_eq!(evaluate("OpenHands V0", &rounds(9, moving)), None);
    }

    #[test]
    fn guards_that_compare_text_find_repeated_text() {
        stops_at("OpenHands V0", 3, |n| rounds(n, "message I will look into it"));
        let varied = |n| rounds(n, "message {}");
        stops_at("OpenHands SDK", 3, varied);
        assert_eq!(evaluate("OpenHands V0", &varied(9)), None);
        stops_at("qwen-code, all tiers", 3, |n| rounds(n, "thinking where is it"));
        let sentence = "the tide is out and the boats lie on the sand and ";
        assert_eq!(sentence.len(), 50);
        for name in ["gemini-cli", "qwen-code, all tiers"] {
            stops_at(name, 10, |n| rounds(n, &format!("delta \"{sentence}\"")));
            let fenced = rounds(20, &format!("delta \"{sentence}\""));
            assert_eq!(evaluate(name, &format!("0s delta ```\n{fenced}")), None, "{name}");
        }
        stops_at("OpenRouter SDK", 4, |n| format!("0s message start {}", "to and fro ".repeat(n)));
        let recovered = format!("0s message {}done", "to and fro ".repeat(9));
        assert_eq!(evaluate("OpenRouter SDK", &recovered), None);
    }

    #[test]
    fn gemini_cli_and_qwen_code_differ_on_dashes_and_capitals() {
        let item = "- the tide is out and the boats lie on the sand..\\n";
        let items = rounds(12, &format!("delta \"{item}\""));
        assert_eq!(evaluate("gemini-cli", &items), Some(Response::Stop));
        assert_eq!(evaluate("qwen-code, all tiers", &items), None);
        let capitals = rounds(60, "delta TIDE9BOATS");
        assert_eq!(evaluate("gemini-cli", &capitals), None);
        assert_eq!(evaluate("qwen-code, all tiers", &capitals), Some(Response::Stop));
    }

    #[test]
    fn opencode_counts_in_one_message_and_crush_in_ten_responses() {
        stops_at("opencode", 3, |n| rounds(n, "call ls @m1 src ;; result ok a"));
        assert_eq!(evaluate("opencode", &rounds(20, "call ls src ;; result ok a")), None);
        let six = |n| {
            rounds(n, "call ls src ;; result ok a") + &rounds(10 - n, "call cat {} ;; result ok {}")
        };
        stops_at("crush", 6, six);
        assert_eq!(evaluate("crush", &rounds(9, "call ls src ;; result ok a")), None);
    }

    #[test]
    fn rules_of_a_single_guard() {
        stops_at("OpenHands V0", 10, |n| rounds(n, "compaction"));
        stops_at("stella", 6, |n| rounds(n, "call grep {} ;; result ok no match"));
        let git = r#"call shell {"command": "git log --max-count={}"}"#;
        stops_at("qwen-code", 8, |n| rounds(n, git));
        let of_file = r#"call shell {"command": "git diff src/{}.rs"}"#;
        assert_eq!(evaluate("qwen-code", &rounds(20, of_file)), None);
        let read = r#"call read {"path": "a"} ;; result ok text ;; call ls"#;
        stops_at("forks of goose", 5, |n| rounds(n, read));
        let work = rounds(8, r#"call read {"path": "a"} ;; result ok text ;; call write b"#);
        assert_eq!(evaluate("forks of goose", &work), None);
    }

    #[test]
    fn a_prompt_resets_some_guards() {
        let calls = rounds(2, "call ls src ;; result ok a");
        let trace = format!("{calls}2s prompt go on\n{calls}");
        assert_eq!(evaluate("OpenHands SDK", &trace), None);
        assert_eq!(evaluate("stella", &trace), None);
        assert_eq!(evaluate("OpenHands V0", &trace), Some(Response::Stop));
        assert_eq!(evaluate("Roo-Code", &trace), Some(Response::Stop));
    }

    #[test]
    fn healthy_work_triggers_no_guard() {
        let work = rounds(
            30,
            "thinking step {} ;; call edit {} ;; result ok done {} ;; call bash test {} ;; result \
             ok {} passed",
        );
        for peer in PEERS {
            assert_eq!(evaluate(peer.name, &work), None, "{}", peer.name);
        }
    }

    /// Returns a trace of `n` rounds, one per second, in which `{}` is the number of the round.
    fn rounds(n: usize, round: &str) -> String {
        let of = |idx: usize| {
            format!("{idx}s repeat 1 every 1s: {}\n", round.replace("{}", &idx.to_string()))
        };
        (0..n).map(of).collect::<Vec<_>>().concat()
    }

    fn evaluate(name: &str, trace: &str) -> Option<Response> {
        let trace: Trace = trace.parse().unwrap();
        let events: Vec<Event> = trace.events().cloned().collect();
        let peer = PEERS.iter().find(|it| it.name == name).unwrap();
        (peer.evaluate)(&session::steps(&events))
    }

    /// Asserts that the guard stops a session of `at` rounds, and not one of `at - 1`.
    #[track_caller]
    fn stops_at(name: &str, at: usize, trace: impl Fn(usize) -> String) {
        assert_ne!(evaluate(name, &trace(at - 1)), Some(Response::Stop), "{name}");
        assert_eq!(evaluate(name, &trace(at)), Some(Response::Stop), "{name}");
    }
}
