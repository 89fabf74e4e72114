//! The tables and the list of an invented folder.

use std::{fmt::Write as _, fs};

use tempfile::TempDir;
use watchkeeper_testing::Trace;

use super::{compare, labels, list, render};
use crate::watchkeeper::Watchkeeper;

const LABELS: &str = "\
file\tverdict\tkind\tfrom_step\tto_step\ttell_step\twhy
loop.ndjson\thigh\trepeated_call\t3\t22\t5\tthe same listing 20 times
odd.traj\tmedium\tcycle\t2\t3\t2\tno system finds this one
work.ndjson\tquiet\t\t\t\t\teach step has a result of its own
poll.ndjson\tlow\trepeated_call\t1\t6\t4\ta queue that fills up
";

/// Returns a folder of sessions and their labels.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let work = rounds(30, "call edit {} ;; result ok done {}");
    let start = rounds(2, "call open {} ;; result ok text {}");
    let looping = start + &rounds(20, "call ls src ;; result ok main.rs lib.rs");
    // Only guards that ignore results report these calls.
    let poll = rounds(6, "call queue main ;; result ok {} jobs");
    for (file, trace) in [("loop", looping), ("work", work), ("poll", poll)] {
        let trace: Trace = trace.parse().unwrap();
        let mut text = String::new();
        for event in trace.events() {
            writeln!(text, "{}", watchkeeper_sources::write_event(event)).unwrap();
        }
        fs::write(folder.path().join(file).with_extension("ndjson"), text).unwrap();
    }
    let steps = r#"[{"action": "ls", "observation": "a"}, {"action": "", "observation": ""},
        {"action": "cat a", "observation": "b"}]"#;
    fs::write(folder.path().join("odd.traj"), format!(r#"{{"trajectory": {steps}}}"#)).unwrap();
    fs::write(folder.path().join("labels.tsv"), LABELS).unwrap();
    folder
}

/// Returns a trace of `n` rounds, one per second, in which `{}` is the number of the round.
fn rounds(n: usize, round: &str) -> String {
    let of = |idx: usize| {
        format!("{idx}s repeat 1 every 1s: {}\n", round.replace("{}", &idx.to_string()))
    };
    (0..n).map(of).collect()
}

#[test]
fn the_tables_count_sessions_and_stretches() {
    let folder = folder();
    let labels = labels(&folder.path().join("labels.tsv")).unwrap();
    let watchkeeper = Watchkeeper::new(None).unwrap();
    let page = render(&compare(folder.path(), &labels, &watchkeeper).unwrap());
    let rows = |name: &str| -> Vec<&str> {
        let start = format!("| {name} |");
        page.lines().filter_map(|line| line.strip_prefix(&start)).collect()
    };
    assert_eq!(
        rows("**Watchkeeper**"),
        [
            " 1/2 | 0/2 | 0.50 | 1.00 | 1/1 | 0/2 | 0/1 | – |",
            " 1/1 | 0/1 | – | – | – | – | – | 1/2 | 1/1 | 1 |"
        ]
    );
    // Cline warns of the third call, and stops the fifth.
    assert_eq!(
        rows("cline"),
        [
            " 1/2 | 1/2 | 0.50 | 0.50 | 1/1 | 1/2 | 0/1 | – |",
            " 1/1 | 0/1 | – | – | – | – | – | 1/2 | 1/1 | 0 |"
        ]
    );
    assert_eq!(rows("openclaw \\*").len(), 2);
    assert!(page.starts_with("## Labelled sessions\n\nA person read 4 recorded sessions"));
}

#[test]
fn the_list_contains_each_stretch_and_each_alarm() {
    let folder = folder();
    let labels = labels(&folder.path().join("labels.tsv")).unwrap();
    let mut out = Vec::new();
    list(folder.path(), &labels, &Watchkeeper::new(None).unwrap(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    let [found, missed, totals] = lines[..] else { panic!("{out}") };
    assert!(found.starts_with("found\tloop.ndjson\trepeated_call\thigh\t3-22\ttell 5\tat 6, "));
    assert!(found.contains("delay 1\trepeated_call: "), "{found}");
    assert_eq!(
        missed,
        "missed\todd.traj\tcycle\tmedium\t2-3\ttell 2\tfindings: none\tguards: none\t\
         no system finds this one"
    );
    assert_eq!(
        totals,
        "sessions: 1 of 2 due reported, 0 of 2 quiet with an alarm; stretches: 1 of 2 found, 1 of \
         them at most 5 steps after the tell step"
    );
}
