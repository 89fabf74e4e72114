use watchkeeper_core::Event;
use watchkeeper_testing::Trace;

use super::PEERS;
use crate::reports::{Reports, Response};

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
fn a_success_resets_the_failures_of_a_tool_in_forge() {
    let fails = "call edit {} ;; result fail no such line {}";
    let succeeds = "call edit x{} ;; result ok done {}";
    let other = "call ls {} ;; result ok main.rs {}";
    let trace = |between| rounds(2, fails) + &rounds(1, between) + &rounds(2, fails);
    assert_eq!(evaluate("forge", &trace(succeeds)), None);
    assert_eq!(evaluate("forge", &trace(other)), Some(Response::Stop));
}

#[test]
fn each_agent_has_a_guard_of_its_own() {
    let calls = |agent: &str, n: usize| {
        let call = |idx| format!("{idx}s {agent}call ls src\n{idx}s {agent}result ok main.rs\n");
        (0..n).map(call).collect::<String>()
    };
    let of_both = |n| calls("", 2) + &calls("agent a: ", n);
    assert_eq!(evaluate("forge", &of_both(2)), None);
    assert_eq!(evaluate("forge", &of_both(3)), Some(Response::Stop));
}

#[test]
fn a_message_before_a_call_is_part_of_the_call_in_openhands_v0() {
    let round = "message look {} ;; call ls src ;; result ok main.rs";
    stops_at("OpenHands V0", 4, |n| rounds(n, round));
}

#[test]
fn a_guard_reports_at_each_step_at_which_its_rule_applies() {
    let trace = rounds(2, "call cat {} ;; result ok text {}")
        + &rounds(6, "call ls src ;; result ok main.rs")
        + &rounds(1, "call cat end ;; result ok end");
    let reports = reports("cline", &trace);
    assert_eq!(reports.steps(Response::Warn), [5, 6, 7, 8]);
    assert_eq!(reports.steps(Response::Stop), [7, 8]);
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
    reports(name, trace).strongest()
}

fn reports(name: &str, trace: &str) -> Reports {
    let trace: Trace = trace.parse().unwrap();
    let events: Vec<Event> = trace.events().cloned().collect();
    let peer = PEERS.iter().find(|it| it.name == name).unwrap();
    peer.reports(&events)
}

/// Asserts that the guard stops a session of `at` rounds, and not one of `at - 1`.
#[track_caller]
fn stops_at(name: &str, at: usize, trace: impl Fn(usize) -> String) {
    assert_ne!(evaluate(name, &trace(at - 1)), Some(Response::Stop), "{name}");
    assert_eq!(evaluate(name, &trace(at)), Some(Response::Stop), "{name}");
}
