//! What the guards of other agents do by their published rules, as models.
//!
//! Each is written from a description of the rule, and is as much of it as
//! events can show. Thresholds are those that the agent ships with.

use std::collections::{BTreeMap, BTreeSet};

use watchkeeper_core::ToolClass;

use crate::{
    chanting::Chanting,
    session::{Call, Step, calls, cycles, turns},
};

/// What a guard has to say of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    /// The first step of a ladder: it takes note, or tells the model.
    Hint,
    /// Its last word, or its only one.
    Verdict,
}

/// An agent's own guard.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// The version or the month that the rule is of.
    pub(crate) of: &'static str,
    /// How the cases that were taken from it are named.
    pub(crate) cases: &'static str,
    /// What must be set before it does anything.
    pub(crate) switch: Option<&'static str>,
    /// What it says of a session, at the most.
    pub(crate) says: fn(&[Step<'_>]) -> Option<Word>,
}

/// The guards that are on unless one switches them off, and then the others.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "OpenHands V0",
        of: "2025-11",
        cases: "openhands__stuck",
        switch: None,
        says: openhands_v0,
    },
    Peer {
        name: "OpenHands SDK",
        of: "2026-08",
        cases: "openhands__sdk",
        switch: None,
        says: openhands_sdk,
    },
    Peer { name: "gemini-cli", of: "2026-08", cases: "gemini-cli", switch: None, says: gemini_cli },
    Peer { name: "qwen-code", of: "2026-08", cases: "qwen-code", switch: None, says: qwen_code },
    Peer { name: "Roo-Code", of: "2026-04", cases: "roo-code", switch: None, says: roo_code },
    Peer { name: "cline", of: "2026-08", cases: "cline", switch: None, says: cline },
    Peer { name: "opencode", of: "1.18", cases: "opencode", switch: None, says: opencode },
    Peer { name: "crush", of: "2026-08", cases: "crush", switch: None, says: crush },
    Peer { name: "stella", of: "2026-08", cases: "stella", switch: None, says: stella },
    Peer { name: "forge", of: "2026-08", cases: "forge", switch: None, says: forge },
    Peer {
        name: "qwen-code, all tiers",
        of: "2026-08",
        cases: "qwen-code",
        switch: Some("`skipLoopDetection: false`"),
        says: qwen_code_all,
    },
    Peer {
        name: "goose",
        of: "2026-11",
        cases: "goose__repetition",
        switch: Some("3 repetitions allowed"),
        says: goose,
    },
    Peer {
        name: "forks of goose",
        of: "2026-11",
        cases: "goose__fork",
        switch: Some("REP-001 at 3, REP-002, REP-003, no retries"),
        says: goose_forks,
    },
    Peer {
        name: "OpenRouter SDK",
        of: "2026-08",
        cases: "openrouter",
        switch: Some("its ladder: 2, 3, 6"),
        says: openrouter,
    },
    Peer {
        name: "openclaw",
        of: "2026",
        cases: "openclaw",
        switch: Some("its thresholds: 10, 20"),
        says: openclaw,
    },
];

fn verdict(is_one: bool) -> Option<Word> {
    is_one.then_some(Word::Verdict)
}

fn hint(is_one: bool) -> Option<Word> {
    is_one.then_some(Word::Hint)
}

/// OpenHands V0, `controller/stuck.py`, 2025-11, without a person: prompts are
/// left out. Of a command it compares the exit code, and not what it printed.
fn openhands_v0(steps: &[Step<'_>]) -> Option<Word> {
    let is_action = |it: &&Step<'_>| matches!(it, Step::Call(_) | Step::Message(_));
    let actions: Vec<&Step<'_>> = steps.iter().filter(is_action).collect();
    let both = |is_same: fn(&Call<'_>, &Call<'_>) -> bool| {
        move |a: &&Step<'_>, b: &&Step<'_>| {
            a.as_call().zip(b.as_call()).is_some_and(|(a, b)| is_same(a, b))
        }
    };
    let is_seen = |it: &&&Step<'_>| it.as_call().is_none_or(|it| it.answer.is_some());
    let seen: Vec<&Step<'_>> = actions.iter().filter(is_seen).copied().collect();
    let is_compaction = |it: &&Step<'_>| matches!(it, Step::Compaction);
    let spoken: Vec<&Step<'_>> = steps.iter().filter(|it| !matches!(it, Step::Prompt)).collect();
    verdict(
        cycles(&actions, 1, 4, both(is_same_pair))
            || cycles(&actions, 2, 3, both(is_same_pair))
            || cycles(&actions, 1, 3, both(|a, b| a.asks_as(b) && a.failed() && b.failed()))
            || cycles(&actions, 1, 3, both(is_same_syntax_error))
            || cycles(&seen, 1, 3, |a, b| a.message().is_some() && a.message() == b.message())
            || (10 <= spoken.iter().filter(|it| is_compaction(it)).count()
                && cycles(&spoken, 1, 2, |a, b| is_compaction(a) && is_compaction(b))),
    )
}

fn is_notebook(call: &Call<'_>) -> bool {
    call.tool().contains("ipython")
}

fn is_same_pair(a: &Call<'_>, b: &Call<'_>) -> bool {
    let code = |it: &Call<'_>| it.answer.map(|it| it.exit_code.unwrap_or(i32::from(!it.ok)));
    if a.is(ToolClass::Run) && !is_notebook(a) {
        a.asks_as(b) && a.answer.is_some() && code(a) == code(b)
    } else {
        a.repeats(b)
    }
}

/// A notebook ends in the same syntax error, on the same line of the cell.
fn is_same_syntax_error(a: &Call<'_>, b: &Call<'_>) -> bool {
    fn error<'a>(call: &Call<'a>) -> Option<(&'a str, &'a str)> {
        let mut lines = call.output().lines().filter(|it| !it.starts_with("[Jupyter"));
        let line = lines.clone().find(|it| it.contains("Cell In["))?;
        let last = lines.rfind(|it| !it.trim().is_empty())?;
        last.starts_with("SyntaxError").then_some((line, last))
    }
    is_notebook(a) && a.asks_as(b) && error(a).is_some() && error(a) == error(b)
}

/// OpenHands SDK, `conversation/stuck_detector.py`, 2026-08: a prompt starts
/// anew, and the thought before a call is part of the call.
fn openhands_sdk(steps: &[Step<'_>]) -> Option<Word> {
    let of_turn = |turn: &[Step<'_>]| {
        let is_same = |a: &&Call<'_>, b: &&Call<'_>| a.thought == b.thought && a.repeats(b);
        let fails = |a: &&Call<'_>, b: &&Call<'_>| {
            a.thought == b.thought && a.asks_as(b) && a.failed() && b.failed()
        };
        let is_talk = |it: &Step<'_>| matches!(it, Step::Message(_));
        let calls = calls(turn);
        verdict(
            cycles(&calls, 1, 4, is_same)
                || cycles(&calls, 2, 3, is_same)
                || cycles(&calls, 1, 4, fails)
                || cycles(turn, 1, 3, |a, b| is_talk(a) && is_talk(b)),
        )
        .or(hint(cycles(&calls, 1, 3, fails)))
    };
    turns(steps).filter_map(of_turn).max()
}

/// gemini-cli, `services/loopDetectionService.ts`, 2026-08, without the model
/// that it asks after 30 turns. Calls alone, before there is an answer.
fn gemini_cli(steps: &[Step<'_>]) -> Option<Word> {
    let chanting = Chanting { history: 5_000, max_distance: 250, knows_dashes: false };
    verdict(turns(steps).any(|turn| {
        let calls = calls(turn);
        (1..=5).any(|period| cycles(&calls, period, 5, |a, b| a.is_written_as(b)))
            || turn.iter().any(|it| matches!(it, Step::Message(it) if chanting.is_in(it)))
    }))
}

/// qwen-code, `services/loopDetectionService.ts`, 2026-08: what is always on.
/// The caps on the calls of a turn are the soft one and the hard one.
fn qwen_code(steps: &[Step<'_>]) -> Option<Word> {
    verdict(turns(steps).any(|turn| {
        let calls = calls(turn);
        let has_favourite =
            || calls.iter().any(|it| 6 <= calls.iter().filter(|other| it.asks_as(other)).count());
        cycles(&calls, 1, 5, |a, b| is_same_poll(a, b))
            || cycles(&calls, 1, 8, |a, b| looks_at_git(a) && looks_at_git(b))
            || (100 <= calls.len() && has_favourite())
            || 1_000 <= calls.len()
    }))
}

/// Of `task_list` it compares the answers, too, where it has both.
fn is_same_poll(a: &Call<'_>, b: &Call<'_>) -> bool {
    let is_progress =
        a.tool() == "task_list" && a.answer.is_some() && b.answer.is_some() && !a.is_answered_as(b);
    a.asks_as(b) && !is_progress
}

/// A command that only asks git about the tree as a whole.
fn looks_at_git(call: &Call<'_>) -> bool {
    let command = call.arguments["command"].as_str().unwrap_or_default();
    let mut words = command.split_whitespace();
    let is_git = words.next() == Some("git");
    let looks = matches!(words.next(), Some("status" | "diff" | "log" | "show" | "ls-files"));
    is_git && looks && words.all(|it| it.starts_with('-') && it.len() > 2)
}

/// The same, with the tier that is off by default. By its own tests, commands
/// that differ are not the calls of one tool.
fn qwen_code_all(steps: &[Step<'_>]) -> Option<Word> {
    let chanting = Chanting { history: 1_000, max_distance: 75, knows_dashes: true };
    let of_turn = |turn: &[Step<'_>]| {
        let calls = calls(turn);
        let comes_again = |call: &&Call<'_>| {
            let same: Vec<_> = calls.iter().filter(|it| it.asks_as(call)).collect();
            cycles(&same, 1, 6, |a, b| is_same_poll(a, b))
        };
        let work = calls.iter().position(|it| !it.is(ToolClass::Read)).unwrap_or(calls.len());
        let reads_on = (work..calls.len()).any(|last| {
            let recent = &calls[work.max(last.saturating_sub(14))..=last];
            8 <= recent.iter().filter(|it| it.is(ToolClass::Read)).count()
        });
        calls.iter().any(comes_again)
            || cycles(&calls, 2, 3, |a, b| is_same_poll(a, b))
            || reads_on
            || cycles(&calls, 1, 8, |a, b| a.tool() == b.tool() && !a.is(ToolClass::Run))
            || cycles(turn, 1, 3, |a, b| match (a, b) {
                (Step::Thinking(a), Step::Thinking(b)) => !a.is_empty() && a == b,
                _ => false,
            })
            || turn.iter().any(|it| matches!(it, Step::Message(it) if chanting.is_in(it)))
    };
    qwen_code(steps).or(verdict(turns(steps).any(of_turn)))
}

/// Roo-Code, `ToolRepetitionDetector.ts`, 2026-04: the fourth call on end, and
/// three mistakes on end. A command that fails is no mistake.
fn roo_code(steps: &[Step<'_>]) -> Option<Word> {
    let calls = calls(steps);
    let is_mistake = |it: &Call<'_>| it.failed() && !it.is(ToolClass::Run);
    verdict(
        cycles(&calls, 1, 4, |a, b| a.asks_as(b))
            || cycles(&calls, 1, 3, |a, b| is_mistake(a) && is_mistake(b)),
    )
}

/// cline SDK, `runtime/safety`, 2026-08: a notice at three, a stop at five, and
/// six mistakes on end.
fn cline(steps: &[Step<'_>]) -> Option<Word> {
    let calls = calls(steps);
    verdict(
        cycles(&calls, 1, 5, |a, b| a.asks_as(b))
            || cycles(&calls, 1, 6, |a, b| a.failed() && b.failed()),
    )
    .or(hint(cycles(&calls, 1, 3, |a, b| a.asks_as(b))))
}

/// opencode, `session/processor.ts`, 1.18: the last three parts of one message
/// are the same call. A call that names no message is alone in its own.
fn opencode(steps: &[Step<'_>]) -> Option<Word> {
    let is_same = |a: &Call<'_>, b: &Call<'_>| {
        a.made.response.is_some() && a.made.response == b.made.response && a.asks_as(b)
    };
    verdict(cycles(steps, 1, 3, |a, b| {
        a.as_call().zip(b.as_call()).is_some_and(|(a, b)| is_same(a, b))
    }))
}

/// The calls of one answer of the model.
fn rounds<'s, 'a>(steps: &'s [Step<'a>]) -> Vec<Vec<&'s Call<'a>>> {
    let mut res: Vec<Vec<&Call<'_>>> = Vec::new();
    for call in calls(steps) {
        match res.last_mut() {
            Some(round)
                if call.made.response.is_some() && round[0].made.response == call.made.response =>
            {
                round.push(call);
            }
            _ => res.push(vec![call]),
        }
    }
    res
}

/// crush, `agent/loop_detection.go`, 2026-08: six of the last ten rounds are
/// the same, calls and answers.
fn crush(steps: &[Step<'_>]) -> Option<Word> {
    let is_same = |a: &[&Call<'_>], b: &[&Call<'_>]| {
        let mut pairs = a.iter().zip(b);
        let is_same =
            |(a, b): (&&Call<'_>, &&Call<'_>)| a.is_written_as(b) && a.output() == b.output();
        a.len() == b.len() && pairs.all(is_same)
    };
    let has_six = |recent: &[Vec<&Call<'_>>]| {
        recent.iter().any(|it| 6 <= recent.iter().filter(|other| is_same(it, other)).count())
    };
    verdict(rounds(steps).windows(10).any(has_six))
}

/// stella, `loop_detect.rs`, 2026-08. What has no answer is no evidence.
///
/// A write that succeeds, and an answer to a call that is not the one it got
/// before, are taken to be the progress that its third rule looks for.
fn stella(steps: &[Step<'_>]) -> Option<Word> {
    let of_turn = |turn: &[Step<'_>]| {
        let calls = calls(turn);
        let is_progress = |span: &[&Call<'_>]| {
            span.iter().any(|it| {
                let moved = |other: &&Call<'_>| it.asks_as(other) && !it.is_answered_as(other);
                (it.is(ToolClass::Write) && it.answer.is_some_and(|it| it.ok))
                    || span.iter().any(moved)
            })
        };
        let comes_thrice = |(last, call): (usize, &&Call<'_>)| {
            let mut same = (0..=last).rev().filter(|idx| calls[*idx].repeats(call));
            same.nth(2).is_some_and(|first| !is_progress(&calls[first..=last]))
        };
        let stagnates = |a: &&Call<'_>, b: &&Call<'_>| {
            a.tool() == b.tool() && !a.asks_as(b) && a.is_answered_as(b)
        };
        (1..=4).any(|period| cycles(&calls, period, 3, |a, b| a.repeats(b)))
            || calls.iter().enumerate().any(comes_thrice)
            || cycles(&calls, 1, 6, stagnates)
    };
    verdict(turns(steps).any(of_turn))
}

/// forge, `hooks/doom_loop.rs`, 2026-08: calls alone, three times on end, with
/// any period; and three failures of one tool in a turn.
fn forge(steps: &[Step<'_>]) -> Option<Word> {
    let all = calls(steps);
    let fails = |turn: &[Step<'_>]| {
        let mut by_tool: BTreeMap<&str, usize> = BTreeMap::new();
        for call in calls(turn).into_iter().filter(|it| it.failed()) {
            *by_tool.entry(call.tool()).or_default() += 1;
        }
        by_tool.values().any(|it| 3 <= *it)
    };
    verdict(
        (1..=all.len() / 3).any(|period| cycles(&all, period, 3, |a, b| a.asks_as(b)))
            || turns(steps).any(fails),
    )
}

/// goose, `tool_monitor.rs`, 2026-11: the call after so many that are the same
/// is denied.
fn goose(steps: &[Step<'_>]) -> Option<Word> {
    verdict(cycles(&calls(steps), 1, 4, |a, b| a.asks_as(b)))
}

/// Forks of goose, 2026-11: they start anew with each prompt. REP-002 is the
/// same error of one tool three times, REP-003 one path read five times with
/// no write between; and what failed is not tried again unchanged.
fn goose_forks(steps: &[Step<'_>]) -> Option<Word> {
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
            calls[..idx].iter().any(|it| it.failed() && it.asks_as(call))
        };
        cycles(&calls, 1, 4, |a, b| a.asks_as(b))
            || tools.into_iter().any(has_one_error)
            || reads_on
            || calls.iter().enumerate().any(tries_again)
    };
    verdict(turns(steps).any(of_turn))
}

/// OpenRouter SDK, 2026-08: one tool is called alike in 2 rounds, 3, and 6,
/// whatever else is called; and a block of words comes four times at the end
/// of a message, 12 words at least in all.
fn openrouter(steps: &[Step<'_>]) -> Option<Word> {
    let rounds = rounds(steps);
    let tools: BTreeSet<&str> = rounds.iter().flatten().map(|it| it.tool()).collect();
    let streak = |n| {
        tools.iter().any(|tool| {
            let of_tool = |round: &Vec<&Call<'_>>| round.iter().any(|it| it.tool() == *tool);
            let of_tool: Vec<_> = rounds.iter().filter(|it| of_tool(it)).collect();
            cycles(&of_tool, 1, n, |a, b| {
                a.iter().any(|a| a.tool() == *tool && b.iter().any(|b| a.asks_as(b)))
            })
        })
    };
    let ends_in_circles = |text: String| {
        let words: Vec<&str> = text.split_whitespace().collect();
        (3..=words.len() / 4)
            .any(|period| cycles(&words[words.len() - 4 * period..], period, 4, |a, b| a == b))
    };
    verdict(streak(3) || steps.iter().filter_map(Step::message).any(ends_in_circles))
        .or(hint(streak(2)))
}

/// openclaw, 2026: a warning at ten of one call among the last 30, and the
/// last word at 20 if the answers are the same; so, too, for two in turns. And
/// ten calls of a tool that there is not.
fn openclaw(steps: &[Step<'_>]) -> Option<Word> {
    let of_turn = |turn: &[Step<'_>]| {
        let calls = calls(turn);
        let has_many = |recent: &[&Call<'_>]| {
            recent.iter().any(|it| 10 <= recent.iter().filter(|other| it.asks_as(other)).count())
        };
        let is_unknown = |it: &Call<'_>| it.failed() && it.output().ends_with("not found");
        verdict(
            cycles(&calls, 1, 20, |a, b| a.repeats(b))
                || cycles(&calls, 2, 10, |a, b| a.repeats(b))
                || cycles(&calls, 1, 10, |a, b| {
                    a.tool() == b.tool() && is_unknown(a) && is_unknown(b)
                }),
        )
        .or(hint(
            calls.windows(30.min(calls.len()).max(1)).any(has_many)
                || cycles(&calls, 2, 5, |a, b| a.asks_as(b)),
        ))
    };
    turns(steps).filter_map(of_turn).max()
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::Event;
    use watchkeeper_testing::Trace;

    use super::{PEERS, Word};
    use crate::session;

    #[test]
    fn the_same_call_with_the_same_answer() {
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
            begins(name, at, |n| rounds(n, r#"call ls {"dir": "src"} ;; result ok a b"#));
        }
    }

    #[test]
    fn ladders_begin_with_a_hint() {
        for (name, at, round) in [
            ("cline", 3, "call ls src"),
            ("OpenRouter SDK", 2, "call ls src"),
            ("openclaw", 10, "call ls src"),
            ("OpenHands SDK", 3, "call make ;; result fail no rule"),
        ] {
            assert_eq!(says(name, &rounds(at - 1, round)), None, "{name}");
            assert_eq!(says(name, &rounds(at, round)), Some(Word::Hint), "{name}");
        }
    }

    #[test]
    fn two_calls_in_turns() {
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
            begins(name, at, |n| rounds(n, round));
        }
    }

    #[test]
    fn answers_that_move_excuse_where_answers_are_compared() {
        let poll = |n| rounds(n, "call ls src ;; result ok {} files");
        for name in ["OpenHands V0", "OpenHands SDK", "crush", "stella"] {
            assert_eq!(says(name, &poll(30)), None, "{name}");
        }
        for name in ["gemini-cli", "qwen-code", "Roo-Code", "cline", "forge"] {
            assert_eq!(says(name, &poll(5)), Some(Word::Verdict), "{name}");
        }
        let board = |n| poll(n).replace("call ls", "call task_list");
        assert_eq!(says("qwen-code", &board(30)), None);
        let commands = |n| poll(n).replace("call ls", "call bash");
        begins("OpenHands V0", 4, commands);
    }

    #[test]
    fn errors() {
        begins("OpenHands V0", 3, |n| rounds(n, "call edit a ;; result fail no such line"));
        begins("OpenHands SDK", 4, |n| rounds(n, "call edit a ;; result fail no such line"));
        let vary = |n| rounds(n, "call edit {} ;; result fail no such line {}");
        begins("Roo-Code", 3, vary);
        begins("cline", 6, vary);
        begins("forge", 3, vary);
        let same = |n| rounds(n, "call jump {} ;; result fail not found");
        begins("openclaw", 10, same);
        begins("forks of goose", 4, same);
        assert_eq!(says("forks of goose", "0s call ls\n1s result declined\n2s call ls"), None);
        begins("forks of goose", 2, |n| rounds(n, "call ls ;; result fail no such folder"));
    }

    #[test]
    fn a_notebook_fails_on_the_same_line() {
        let moving =
            r#"call ipython x ;; result ok "Cell In[1], line {}\nSyntaxError: bad\n[Jupyter]""#;
        begins("OpenHands V0", 3, |n| rounds(n, &moving.replace("{}", "7")));
        assert_eq!(says("OpenHands V0", &rounds(9, moving)), None);
    }

    #[test]
    fn what_agents_say() {
        begins("OpenHands V0", 3, |n| rounds(n, "message I will look into it"));
        let varied = |n| rounds(n, "message {}");
        begins("OpenHands SDK", 3, varied);
        assert_eq!(says("OpenHands V0", &varied(9)), None);
        begins("qwen-code, all tiers", 3, |n| rounds(n, "thinking where is it"));
        let sentence = "the tide is out and the boats lie on the sand and ";
        assert_eq!(sentence.len(), 50);
        for name in ["gemini-cli", "qwen-code, all tiers"] {
            begins(name, 10, |n| rounds(n, &format!("delta \"{sentence}\"")));
            let fenced = rounds(20, &format!("delta \"{sentence}\""));
            assert_eq!(says(name, &format!("0s delta ```\n{fenced}")), None, "{name}");
        }
        begins("OpenRouter SDK", 4, |n| format!("0s message start {}", "to and fro ".repeat(n)));
        let recovered = format!("0s message {}done", "to and fro ".repeat(9));
        assert_eq!(says("OpenRouter SDK", &recovered), None);
    }

    #[test]
    fn the_dash_and_capitals_are_where_two_of_a_kind_differ() {
        let item = "- the tide is out and the boats lie on the sand..\\n";
        let items = rounds(12, &format!("delta \"{item}\""));
        assert_eq!(says("gemini-cli", &items), Some(Word::Verdict));
        assert_eq!(says("qwen-code, all tiers", &items), None);
        let capitals = rounds(60, "delta TIDE9BOATS");
        assert_eq!(says("gemini-cli", &capitals), None);
        assert_eq!(says("qwen-code, all tiers", &capitals), Some(Word::Verdict));
    }

    #[test]
    fn one_message_of_opencode_and_ten_rounds_of_crush() {
        begins("opencode", 3, |n| rounds(n, "call ls @m1 src ;; result ok a"));
        assert_eq!(says("opencode", &rounds(20, "call ls src ;; result ok a")), None);
        let six = |n| {
            rounds(n, "call ls src ;; result ok a") + &rounds(10 - n, "call cat {} ;; result ok {}")
        };
        begins("crush", 6, six);
        assert_eq!(says("crush", &rounds(9, "call ls src ;; result ok a")), None);
    }

    #[test]
    fn what_only_one_of_them_sees() {
        begins("OpenHands V0", 10, |n| rounds(n, "compaction"));
        begins("stella", 6, |n| rounds(n, "call grep {} ;; result ok no match"));
        let git = r#"call shell {"command": "git log --max-count={}"}"#;
        begins("qwen-code", 8, |n| rounds(n, git));
        let of_file = r#"call shell {"command": "git diff src/{}.rs"}"#;
        assert_eq!(says("qwen-code", &rounds(20, of_file)), None);
        let read = r#"call read {"path": "a"} ;; result ok text ;; call ls"#;
        begins("forks of goose", 5, |n| rounds(n, read));
        let work = rounds(8, r#"call read {"path": "a"} ;; result ok text ;; call write b"#);
        assert_eq!(says("forks of goose", &work), None);
    }

    #[test]
    fn a_prompt_starts_some_of_them_anew() {
        let calls = rounds(2, "call ls src ;; result ok a");
        let trace = format!("{calls}2s prompt go on\n{calls}");
        assert_eq!(says("OpenHands SDK", &trace), None);
        assert_eq!(says("stella", &trace), None);
        assert_eq!(says("OpenHands V0", &trace), Some(Word::Verdict));
        assert_eq!(says("Roo-Code", &trace), Some(Word::Verdict));
    }

    #[test]
    fn nobody_minds_work() {
        let work = rounds(
            30,
            "thinking step {} ;; call edit {} ;; result ok done {} ;; call bash test {} ;; result \
             ok {} passed",
        );
        for peer in PEERS {
            assert_eq!(says(peer.name, &work), None, "{}", peer.name);
        }
    }

    /// So many rounds, one each second, with its number for `{}`.
    fn rounds(n: usize, round: &str) -> String {
        let of = |idx: usize| {
            format!("{idx}s repeat 1 every 1s: {}\n", round.replace("{}", &idx.to_string()))
        };
        (0..n).map(of).collect::<Vec<_>>().concat()
    }

    fn says(name: &str, trace: &str) -> Option<Word> {
        let trace: Trace = trace.parse().unwrap();
        let events: Vec<Event> = trace.events().cloned().collect();
        let peer = PEERS.iter().find(|it| it.name == name).unwrap();
        (peer.says)(&session::steps(&events))
    }

    /// Its verdict comes with so many rounds, and not with one less.
    #[track_caller]
    fn begins(name: &str, at: usize, trace: impl Fn(usize) -> String) {
        assert_ne!(says(name, &trace(at - 1)), Some(Word::Verdict), "{name}");
        assert_eq!(says(name, &trace(at)), Some(Word::Verdict), "{name}");
    }
}
