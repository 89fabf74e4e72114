//! The page of `check --format html`.

use std::fs;

use serde_json::Value;

use crate::{
    check::looping,
    program::{Folder, Ran, program},
};

fn check(folder: &Folder, args: &[&str]) -> Ran {
    Ran::of(program().current_dir(folder.path()).arg("check").args(args))
}

/// Returns the page of the sessions in a folder.
fn page(folder: &Folder, args: &[&str]) -> String {
    let ran = check(folder, &[&[".", "--format", "html", "-o", "report.html"], args].concat());
    assert_eq!((&*ran.out, &*ran.err), ("", ""));
    fs::read_to_string(folder.path().join("report.html")).unwrap()
}

/// Returns the data in a page.
fn data(page: &str) -> Value {
    let (_, data) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

/// Returns a session whose texts are markup and control characters.
fn hostile() -> String {
    let text = "</script><script>alert(1)</script><!--\u{202e}\u{2028}\u{1b}{{data}}";
    let text = serde_json::to_string(text).unwrap();
    let session = looping("s2", 9).replace("\"Bash\"", &text).replace("\"s2\"", &text);
    session.replace("\"text\":\"go\"", &format!("\"text\":{text}"))
}

#[test]
fn the_page_agrees_with_the_json_report() {
    let folder = Folder::new();
    folder.write("a.ndjson", looping("s1", 9));
    folder.write("b.ndjson", looping("s2", 2));
    let json = check(&folder, &[".", "--format", "json"]).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    let data = data(&page(&folder, &[]));
    for key in ["sessions", "events", "tool_calls", "model_calls", "failed_results", "tokens"] {
        assert_eq!(data["totals"][key], json["totals"][key], "{key}");
    }
    let sessions = json["sessions"].as_array().unwrap();
    for (row, session) in data["sessions"].as_array().unwrap().iter().zip(sessions) {
        for key in ["session", "source", "cwd", "started_at", "events", "tokens", "cost_usd"] {
            assert_eq!(row[key], session[key], "{key}");
        }
        assert_eq!(row["last_event_at"], session["ended_at"]);
    }
    let [finding] = &data["findings"].as_array().unwrap()[..] else { panic!("{data}") };
    for key in ["id", "message", "severity", "data", "evidence", "count", "tokens", "cost_usd"] {
        assert_eq!(finding[key], sessions[0]["findings"][0][key], "{key}");
    }
    // The measures of `check --explain`.
    let detail = &data["details"][0];
    assert_eq!(detail["row"]["session"], "s1");
    assert_eq!(detail["measures"][0]["detector"], "repeated_call");
    let outcomes = detail["measures"][0]["measurements"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes.map(|it| it["outcome"].as_str().unwrap()).collect();
    assert!(outcomes.contains(&"opened") && outcomes.contains(&"escalated"), "{outcomes:?}");
}

#[test]
fn the_page_needs_nothing_else() {
    let folder = Folder::new();
    folder.write("a.ndjson", looping("s1", 9));
    let page = page(&folder, &[]).replace("http://www.w3.org/2000/svg", "");
    for part in ["http:", "https:", "src=", "<link", "url(", "@import", "fetch(", "innerHTML"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
}

#[test]
fn text_of_agents_is_no_markup_in_the_page() {
    let folder = Folder::new();
    folder.write("a.ndjson", hostile());
    let page = page(&folder, &[]);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains(['\u{202e}', '\u{2028}', '\u{1b}']) && !page.contains("<!--"));
    let id = data(&page)["sessions"][0]["session"].as_str().unwrap().to_owned();
    assert!(id.starts_with("</script><script>alert(1)"), "{id}");
}

#[test]
fn the_page_says_what_was_left_out_on_request() {
    let folder = Folder::new();
    folder.write("a.ndjson", looping("s1", 4));
    let data = data(&page(&folder, &["--min-severity", "high"]));
    assert_eq!(data["hidden"][0], "1 finding below `--min-severity`");
    assert_eq!(data["findings"].as_array().unwrap().len(), 0);
}

#[test]
fn the_same_sessions_give_the_same_page() {
    let folder = Folder::new();
    for n in 0..8 {
        folder.write(&format!("{n}.ndjson"), looping(&format!("s{n}"), n + 1));
    }
    let first = page(&folder, &["-j", "1"]);
    assert!(first == page(&folder, &["-j", "4"]));
}

#[test]
fn a_report_of_any_format_is_written_to_a_file() {
    let folder = Folder::new();
    folder.write("a.ndjson", looping("s1", 9));
    folder.write("report.txt", "an earlier report");
    for format in ["text", "json", "ndjson", "sarif", "github", "csv"] {
        let printed = check(&folder, &["a.ndjson", "--format", format]);
        let args = ["a.ndjson", "--format", format, "--output", "report.txt", "-q"];
        let written = check(&folder, &args);
        assert_eq!((&*written.out, written.status), ("", printed.status), "{format}");
        let report = fs::read_to_string(folder.path().join("report.txt")).unwrap();
        assert_eq!(report, printed.out, "{format}");
    }
    let ran = check(&folder, &["a.ndjson", "-o", "missing/report.txt"]);
    let expected =
        "error: cannot write `missing/report.txt`: the folder `missing` does not exist\n";
    assert_eq!((&*ran.err, ran.status), (expected, 2));
    let session = fs::read_to_string(folder.path().join("a.ndjson")).unwrap();
    let ran = check(&folder, &["a.ndjson", "-o", "a.ndjson"]);
    let expected =
        "error: the report would replace `a.ndjson`, which is read; choose another --output\n";
    assert_eq!((&*ran.err, ran.status), (expected, 2));
    assert_eq!(fs::read_to_string(folder.path().join("a.ndjson")).unwrap(), session);
    for args in [&["--explain"][..], &["--group-by", "day"]] {
        let ran = check(&folder, &[&["a.ndjson", "--format", "html"], args].concat());
        assert!(ran.err.contains("supports the formats"), "{}", ran.err);
        assert_eq!((&*ran.out, ran.status), ("", 2));
    }
}

#[cfg(unix)]
#[test]
fn a_written_report_is_for_its_owner_and_a_pipe_stays_a_pipe() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    folder.write("a.ndjson", looping("s1", 9));
    page(&folder, &[]);
    let file = fs::metadata(folder.path().join("report.html")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let ran = check(&folder, &["a.ndjson", "--format", "html", "-o", "/dev/stdout"]);
    assert!(ran.out.starts_with("<!doctype html>") && ran.out.ends_with("</html>\n"));
}
