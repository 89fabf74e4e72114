use jiff::Timestamp;
use proptest::{collection::vec, prelude::*};

use super::{Calls, Contribution, RecentCalls, sketch};
use crate::{
    Call, Cause, Event, EventKind, Fingerprint, Json, ToolCall, ToolResult, facts::Step as Changes,
};

/// A call with its result.
struct Step {
    tool: &'static str,
    argument: String,
    ok: bool,
    output: String,
}

fn step(tool: &'static str, argument: &str, output: &str) -> Step {
    Step { tool, argument: argument.to_owned(), ok: true, output: output.to_owned() }
}

fn failed(tool: &'static str, argument: &str) -> Step {
    Step { ok: false, ..step(tool, argument, "error: it does not work") }
}

fn contributions(steps: impl IntoIterator<Item = Step>) -> Vec<Contribution> {
    let mut recent = RecentCalls::default();
    let add = |step: Step| {
        let key = if step.tool == "Bash" { "command" } else { "path" };
        let arguments = serde_json::json!({ key: step.argument }).to_string();
        let arguments = Json::parse(&arguments).expect("the test contains valid JSON");
        let event = ToolCall::new("1", step.tool, arguments);
        let kind = EventKind::ToolCall(event.clone());
        let call =
            Call::new(&event, &Event::new(Timestamp::UNIX_EPOCH, "s", kind), Timestamp::UNIX_EPOCH);
        let result = ToolResult::new("1", step.ok, Some(step.output.into()));
        let mut changes = Changes::default();
        changes.finished_call = Some(call.clone());
        changes.provisional_contribution = Some(recent.add(&call, &result, &changes));
        changes.contribution(&result).expect("the call is finished")
    };
    steps.into_iter().map(add).collect()
}

fn hash(line: &str) -> u16 {
    super::hash(line.as_bytes())
}

/// Returns lines that differ for each number.
fn lines(numbers: std::ops::Range<u32>) -> String {
    let lines = numbers.map(|n| format!("let value_{n} = compute({n});\n"));
    lines.collect::<Vec<_>>().concat()
}

#[test]
fn compares_results_with_recent_results() {
    use Contribution::{Known, New, PartlyKnown};
    let read = |from, to| step("Read", &format!("a.rs:{from}"), &lines(from..to));
    assert_eq!(contributions([read(0, 100), read(100, 200)]), [New, New]);
    assert_eq!(contributions([read(0, 100), read(0, 100)]), [New, Known]);
    assert_eq!(
        contributions([read(0, 100), step("Bash", "cat a.rs", &lines(0..100))]),
        [New, Known]
    );
    let pages = contributions((0..40).map(|n| read(n * 50, n * 50 + 100)));
    let is_new = |contribution: &&Contribution| **contribution == New;
    assert!(pages.iter().filter(is_new).count() < 20 && pages.contains(&PartlyKnown), "{pages:?}");
    // The latest five calls are remembered.
    let tour = |n_between| {
        let pages = (0..=n_between).chain([0]).map(|n| read(n * 100, n * 100 + 100));
        contributions(pages).pop()
    };
    assert_eq!([tour(4), tour(5)], [Some(Known), Some(New)]);
}

#[test]
fn usual_lines_do_not_make_a_result_known() {
    use Contribution::{Known, New};
    let licence = lines(0..15);
    let file = |n: u32| format!("{licence}{}", lines(n * 100..n * 100 + 4));
    let read = |n: u32| step("Read", &format!("{n}.rs"), &file(n));
    let review = contributions((1..40).map(read));
    let n_new = review.iter().filter(|it| **it == New).count();
    assert!(20 < n_new, "{review:?}");
    assert_eq!(contributions([read(1), read(1), read(1), read(1)]), [New, Known, Known, Known]);
}

#[test]
fn classifies_steps_without_information() {
    use Contribution::{Failed, Neutral, Nothing};
    for (step, expected) in [
        (step("Grep", "jdk", "No matches found"), Nothing),
        (step("Bash", "find / -name 'jdk*' 2>/dev/null", ""), Nothing),
        (step("Bash", "which javac", ""), Nothing),
        (failed("Bash", "make"), Failed),
        (failed("Edit", "a.rs"), Failed),
        (step("Bash", "mkdir -p target", ""), Neutral),
        (step("Bash", "gh run view 7", "in progress"), Neutral),
        (step("Bash", "sleep 60", ""), Neutral),
        (step("TodoWrite", "[]", "The list of todos has been modified"), Neutral),
        (step("update_plan", "[]", "Plan updated, with many steps that are not done"), Neutral),
        (step("AskUserQuestion", "Which one?", "The first one, please, and nothing else"), Neutral),
    ] {
        let argument = step.argument.clone();
        assert_eq!(contributions([step]), [expected], "{argument}");
    }
}

#[test]
fn the_same_change_is_made_once() {
    use Contribution::{Change, Failed, Neutral, RepeatedChange};
    let text = "let tree = parse(text); print(tree);";
    let edit = |text| step("Edit", text, "The file a.rs has been updated");
    assert_eq!(contributions([edit(text), edit(text)]), [Change, RepeatedChange]);
    assert_eq!(contributions([edit("row 1"), edit("row 1")]), [Change, Neutral]);
    // A change that failed was not made.
    assert_eq!(contributions([failed("Edit", text), edit(text)]), [Failed, Change]);
    for command in [
        "cat > a.sh <<'EOF'\nmake\nEOF",
        "echo done >> log.txt",
        "sed -i 's/a/b/' a.rs",
        "git apply fix.patch",
        "patch -p1 < fix.patch",
    ] {
        let write = || step("Bash", command, "");
        assert_eq!(contributions([write(), write()]), [Change, RepeatedChange], "{command}");
    }
}

#[test]
fn a_call_that_checks_a_change_is_neutral() {
    use Contribution::{Change, Known, Neutral, New};
    let test = || {
        step(
            "Bash",
            "make test",
            "test parser::reads_names ... ok\ntest parser::reads_numbers ... FAILED",
        )
    };
    let edit = |text| step("Edit", text, "The file a.rs has been updated");
    let steps = [test(), edit("1"), test(), test(), edit("2"), test()];
    assert_eq!(contributions(steps), [New, Change, Neutral, Known, Change, Neutral]);
}

#[test]
fn declined_calls_outages_and_unfinished_changes_are_neutral() {
    let mut recent = RecentCalls::default();
    let event = ToolCall::new("1", "Edit", Json::default());
    let kind = EventKind::ToolCall(event.clone());
    let call =
        Call::new(&event, &Event::new(Timestamp::UNIX_EPOCH, "s", kind), Timestamp::UNIX_EPOCH);
    let mut declined = ToolResult::new("1", false, Some("The user rejected the call".into()));
    declined.cause = Some(Cause::Declined);
    let outage = ToolResult::new("1", false, Some("HTTP 503: try again later".into()));
    let unfinished = ToolResult::new("1", true, Some("Status: in progress, 3 of 9".into()));
    for result in [declined, outage, unfinished] {
        let contribution = recent.add(&call, &result, &Changes::default());
        assert_eq!(contribution, Contribution::Neutral, "{result:?}");
    }
    assert!(recent.0.is_none());
}

#[test]
fn recent_calls_take_bounded_memory() {
    assert_eq!(size_of::<RecentCalls>(), 8);
    // With its header, an allocation of 56 bytes takes 64.
    assert!(size_of::<Calls>() <= 56);
}

proptest! {
    /// The sketch of lines is the smallest of their hashes, in any order and however often.
    #[test]
    fn sketches_depend_on_the_set_of_lines(mut lines in vec("[a-z]{4,20}", 0..60), seed in any::<u64>()) {
        let before = sketch(&lines.join("\n"));
        let mut hashes: Vec<u16> = lines.iter().map(|line| hash(line)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.resize(super::N_HASHES.max(hashes.len()), super::ABSENT);
        prop_assert_eq!(&before[..], &hashes[..super::N_HASHES]);
        lines.sort_by_key(|line| Fingerprint::of(line).get() ^ seed);
        let copies: Vec<_> = lines.iter().chain(&lines).map(String::as_str).collect();
        prop_assert_eq!(sketch(&copies.join("\n")), before);
    }

    /// White space around lines does not count.
    #[test]
    fn sketches_ignore_indentation(lines in vec(("[ \t]{0,9}", "[a-z]{4,20}", "[ \r\n]{0,3}"), 0..9)) {
        let plain: Vec<_> = lines.iter().map(|(_, line, _)| line.as_str()).collect();
        let spaced: Vec<_> = lines.iter().map(|(a, line, b)| format!("{a}{line}{b}\n")).collect();
        prop_assert_eq!(sketch(&spaced.concat()), sketch(&plain.join("\n")));
    }

    /// Of a long line, each piece counts.
    #[test]
    fn sketches_pieces_of_long_lines(text in "([a-z]{0,40}[ \\n]){0,20}[a-z]{0,70}") {
        let mut hashes = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let line = rest.lines().next().unwrap_or_default();
            let piece = line[..line.len().min(super::LONGEST)].trim_end();
            if super::SHORTEST <= piece.len() {
                hashes.push(hash(piece));
            }
            rest = rest[line.len().min(super::LONGEST)..].trim_start();
        }
        hashes.sort_unstable();
        hashes.dedup();
        hashes.resize(super::N_HASHES.max(hashes.len()), super::ABSENT);
        prop_assert_eq!(&sketch(&text)[..], &hashes[..super::N_HASHES]);
    }

    #[test]
    fn sketches_any_text(text in "(?s).{0,300}", n in 0..40_usize) {
        let text = text.repeat(n);
        let sketch = sketch(&text);
        prop_assert!(sketch.is_sorted());
    }
}
