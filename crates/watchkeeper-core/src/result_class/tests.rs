use proptest::prelude::*;

use super::{Outage, ResultClass};
use crate::{Purpose, ToolResult};

fn of(purpose: Purpose, output: &str, ok: bool) -> ResultClass {
    ResultClass::of(&ToolResult::new("1", ok, Some(output.into())), purpose)
}

/// Each row: a result that reports nothing, and a similar result that does not.
#[test]
fn recognizes_that_nothing_was_found() {
    for (nothing, other) in [
        ("[]", "[1]"),
        ("[ ]", r#"[{"id":1}]"#),
        ("{}", r#"{"id":1}"#),
        ("null", "nullable"),
        ("None", "None of these fit, use another"),
        ("0 rows", "10 rows"),
        ("(0 rows)", "(3 rows)"),
        ("0 results", "1 result: a.rs"),
        ("No results", "No. 7 Main Street, Springfield"),
        ("No results for \"foo\".", "Results for \"foo\": a.rs and b.rs"),
        ("No files found", "12 files found in the folder"),
        ("No matches found", "matches found: src/a.rs:12 and 13"),
        ("No matching issues", "matching issues: #12 and also #13"),
        ("no references found for `foo`", "4 references found for `foo`"),
        ("Not found", "Not found in a.rs, but found in b.rs: `foo`".trim_start_matches("Not ")),
        ("Found 0 files", "Found 3 files: a.rs, b.rs and c.rs"),
        ("nothing found", "something found: a.rs and b.rs"),
        (r#"{"results": []}"#, r#"{"results": ["a.rs"]}"#),
        (r#"{"results":[],"total":0,"query":"foo"}"#, r#"{"results":[],"total":7,"query":"foo"}"#),
        (
            r#"{"total_count":0,"incomplete_results":false,"items":[]}"#,
            r#"{"total_count":1,"incomplete_results":false,"items":[{"id":1}]}"#,
        ),
        (r#"{"data":null}"#, r#"{"data":{"id":1,"tags":[]}}"#),
        (r#"{"ok":true,"messages":[]}"#, r#"{"ok":true,"messages":["hello there"]}"#),
        (r#"[{"type":"text","text":"[]"}]"#, r#"[{"type":"text","text":"[7]"}]"#),
        (r#"{"hits":{"hits":[],"total":0}}"#, r#"{"hits":{"hits":[1],"total":1}}"#),
        (
            r#"{"nodes":[],"pageInfo":{"hasNextPage":false,"endCursor":null}}"#,
            r#"{"nodes":[],"name":"the only project"}"#,
        ),
        ("Empty set (0.00 sec)", "Emptied set of 12 rows in 1 sec"),
        ("No entries", "No issues found"),
        ("Total: 0", "Total: 10"),
        ("Results = 0", "Results = 7"),
        ("Query returned zero rows.", "Query returned zero-based indexes: 1, 4"),
        ("Nothing matches your search", "Something matches your search: a.rs"),
        ("Searched 12 files, no matches", "Searched 12 files, one match: a.rs"),
        ("Search complete: no results found", "Search complete: no errors found"),
        ("The search did not return any results", "The linter did not return any errors"),
        ("Couldn't find any pages about this", "Couldn't find any problems in the pages"),
        ("<results></results>", "<results><id>7</id></results>"),
        ("<items/>", "<item id=\"7\"/>"),
        (
            r#"{"ids":[[]],"documents":[[]],"distances":null}"#,
            r#"{"ids":[["a"]],"documents":[[]]}"#,
        ),
        (r#"{"count":0,"next":null,"previous":null,"results":[]}"#, r#"{"count":1,"next":null}"#),
        (r#"{"status":"ok","items":[]}"#, r#"{"status":"running","items":[]}"#),
        (r#"{"message":"No results","data":[]}"#, r#"{"message":"step 3","data":[]}"#),
        (r#"{"status":200,"result":[]}"#, r#"{"status":"queued","result":null}"#),
        (r#"{"data":[],"errors":[]}"#, r#"{"message":"step 3","errors":[]}"#),
        (r#"{"data":null,"error":null}"#, r#"{"ok":true,"error":null,"warnings":[]}"#),
        (r#"{"items":[],"time_ms":0}"#, r#"{"time":"10:00","items":[]}"#),
        (r#"{"total_count":0}"#, r#"{"exit_code":0}"#),
    ] {
        assert_eq!(of(Purpose::Search, nothing, true), ResultClass::Nothing, "{nothing}");
        assert_eq!(of(Purpose::Other, nothing, true), ResultClass::Nothing, "{nothing}");
        assert_ne!(of(Purpose::Search, other, true), ResultClass::Nothing, "{other}");
    }
    // All of them are equal.
    let fingerprint = |output: &str| ToolResult::new("1", true, Some(output.into())).fingerprint;
    assert_eq!(fingerprint("[]"), fingerprint("No results for \"foo\"."));
    assert_ne!(fingerprint("[]"), fingerprint("[1]"));
}

#[test]
fn silence_depends_on_the_purpose() {
    for output in ["", " \n", "(no output)", "(Bash completed with no output)"] {
        assert_eq!(of(Purpose::Search, output, true), ResultClass::Nothing, "{output}");
        assert_eq!(of(Purpose::Run, output, true), ResultClass::Acknowledged, "{output}");
        assert_eq!(of(Purpose::Search, output, false), ResultClass::Nothing, "{output}");
        assert_eq!(of(Purpose::Run, output, false), ResultClass::Failed, "{output}");
    }
}

/// Each row: an acknowledgement, and a similar result with information.
#[test]
fn recognizes_acknowledgements() {
    for (acknowledgement, answer) in [
        ("ok", "error: the server did not respond"),
        ("true", "{\"width\":120,\"height\":80,\"x\":5}"),
        ("clicked", "page https://shop.example shows a cart"),
        ("Action completed successfully.", "Action not completed: no such element"),
        ("Message sent to #general", "Message by Ada: where is the report?"),
        ("Pressed key: down", "The cursor is on line 12 of the file"),
        ("The file /src/a.rs has been updated.", "The file /src/a.rs contains 12 lines of text"),
        ("File written successfully", "File could not be written successfully"),
        (
            "Todos have been modified successfully. Ensure that you continue to use the todo list",
            "Todos: write the parser, test the parser",
        ),
        (
            "Command running in background with ID: b12x. Output is being written to: /tmp/b12x",
            "Command not found in the folder /tmp/b12x",
        ),
        ("{\"ok\":true,\"ts\":\"1700000000.12\"}", "{\"user\":\"ada\",\"name\":\"Ada Lovelace\"}"),
        ("{\"success\":true,\"id\":\"abc-123-def\"}", "{\"success\":false,\"error\":\"locked\"}"),
        ("{\"result\":\"true\"}", "{\"result\":\"the door is blue and open\"}"),
        ("Updated cell B7 of Sheet1 to 12", "Cell B7 of Sheet1 contains the text 12"),
        ("Uploaded report.pdf (12 KB)", "report.pdf has 12 pages and a cover"),
        (
            "Issue #12 closed, and its author was notified",
            "Issue #12 by Ada: the button is too small",
        ),
        ("Successfully added label `bug` to #12", "Labels of #12: bug, parser, regression"),
        ("12 tests passed, 0 failed", "10 tests in 3 files, 2 failed"),
        ("checked 12 files: 0 errors", "checked 12 files: 20 errors"),
        ("ran 200 tests: 0 failures", "ran 200 tests: 100 failures"),
        ("8 suites, 0 failed", "8 suites, 10 failed"),
        ("12 files have no issues", "12 files have 1,000 issues"),
        ("lint of 12 files: 0 problems", "lint of 12 files: 1.0 problems per file"),
        ("lint: no errors in src/a.rs", "lint: casino errors in src/a.rs"),
        ("nothing to commit, working tree clean", "changes in the files src/a.rs and src/b.rs"),
        ("Already up to date.", "Your branch is behind by 3 commits"),
        ("Task created: task-7 in the list", "Task task-7: write a parser for dates"),
        ("Navigated to http://localhost:3000/edit", "Page at http://localhost:3000/edit: a form"),
        ("Typed \"Ada\" into the field `name`", "The field `name` contains \"Ada\""),
        ("Scrolled down by 300 pixels", "The page is 300 pixels high and 20 wide"),
        ("Submitted the form `checkout`", "The form `checkout` has four fields"),
        ("Record upserted: 1 row was inserted", "Record 7: Ada Lovelace, London, 1815"),
        ("The issue has been transitioned to In Review", "The issue is in the list `In Review`"),
        ("Target pose reached within the tolerance", "Target pose is 12 cm out of tolerance"),
        ("Labels of the issue changed as requested", "Labels of the issue: parser, help wanted"),
        (
            r#"{"success":true,"message":"GameObject created in the scene","data":null}"#,
            r#"{"message":"2 objects are here","data":{"id":[7,9]}}"#,
        ),
        ("The hull was painted in two colours", "The hull is blue, with a white line"),
        ("Brightness lowered by one notch", "Brightness is at the third notch"),
        ("Requirement already satisfied: requests", "Requirement: requests, of any version"),
    ] {
        assert_eq!(
            of(Purpose::Other, acknowledgement, true),
            ResultClass::Acknowledged,
            "{acknowledgement}"
        );
        assert_eq!(of(Purpose::Read, answer, true), ResultClass::Answered, "{answer}");
    }
    assert_eq!(of(Purpose::Act, "The button is now blue instead", true), ResultClass::Acknowledged);
    assert_eq!(of(Purpose::Act, &"a page ".repeat(80), true), ResultClass::Answered);
}

#[test]
fn recognizes_unfinished_work_and_outages() {
    for (unfinished, other) in [
        (r#"{"job":"j-42","state":"running"}"#, r#"{"job":"j-42","state":"failed with 3"}"#),
        ("status: in progress", "status: finished with code 0"),
        ("Running for 12 minutes", "server running on port 3000"),
        ("Running the tests", "Running 12 tests\nFAIL a.test.ts: expected 3"),
        ("[pending] 12 of 20", "the list of pending orders is long"),
        ("job j-42 is still running", "line 7: the parser is still broken"),
        ("phase=Pending since 10:00", "[ ] ask whether building is allowed"),
        (r#"{"StackStatus":"creating"}"#, r#"{"title":"creating a stack"}"#),
        ("the deployment is not ready", "the deployment has three replicas"),
        ("queued", "the door is blue and open"),
        ("build 12: pending approval by ada", "build 12: no approval needed by ada"),
        (r#"{"status":"planning","changes":false}"#, r#"{"status":"planned","changes":false}"#),
        (r#"{"video":"v","progress":"rendering"}"#, r#"{"video":"v","progress":"everything"}"#),
        (r#"{"status":"migrating"}"#, r#"{"status":"string","title":"string"}"#),
        ("Status: draining, 3 of 9", "Status: missing on 3 of 9"),
        (r#"{"readyState":"UPLOADING"}"#, r#"{"readyState":"ERROR in the upload"}"#),
        ("Phase: Migrating the database", "The king is in the third phase of it"),
        (r#"{"status":"build_in_progress"}"#, r#"{"status":"built in 12 steps, 3 cached"}"#),
        ("CREATE_IN_PROGRESS", "CREATE_FAILED for the stack `shop`"),
        ("Update in flight: 14 of 30", "Updates of 30 resources: 14 to go"),
        ("Workflow build: on_hold", "Workflow build: one step has an error"),
        ("Build 77ab: in queue", "Build 77ab: out of memory in step 7"),
    ] {
        assert_eq!(of(Purpose::Poll, unfinished, true), ResultClass::Unfinished, "{unfinished}");
        assert_ne!(of(Purpose::Poll, other, true), ResultClass::Unfinished, "{other}");
    }
    for (outage, failure) in [
        ("HTTP 503 Service Unavailable", "error at main.rs:503"),
        ("429 Too Many Requests", "HTTP 404 for the page"),
        ("API Error: 529 overloaded_error", "API Error: 400 invalid_request_error"),
        ("rate limit exceeded, retry after 20s", "size limit exceeded: 20 MB"),
        ("502 Bad Gateway", "the gateway is bad"),
        ("status code 500 from upstream", "500 tests failed"),
        (
            "curl: (22) The requested URL returned error: 503",
            "curl: (22) The requested URL returned error: 404",
        ),
    ] {
        assert_eq!(of(Purpose::Read, outage, false), ResultClass::Outage, "{outage}");
        assert_eq!(of(Purpose::Read, failure, false), ResultClass::Failed, "{failure}");
    }
}

#[test]
fn outages_of_tools_and_providers() {
    for (error, of_tool, of_provider) in [
        ("HTTP 503", Some(Outage::Unavailable), Some(Outage::Unavailable)),
        (r#"{"type":"rate_limit_error"}"#, Some(Outage::Unavailable), Some(Outage::Unavailable)),
        ("upstream connect error", Some(Outage::Unavailable), Some(Outage::Unavailable)),
        ("API Error: 529", Some(Outage::Unavailable), Some(Outage::Unavailable)),
        ("529 {}", None, Some(Outage::Unavailable)),
        ("a.rs:503: error", None, Some(Outage::Unavailable)),
        ("the request timed out", Some(Outage::Timeout), Some(Outage::Timeout)),
        ("connection refused", None, Some(Outage::Connection)),
        ("We are in high demand", None, Some(Outage::Connection)),
        ("the prompt is too long", None, None),
    ] {
        assert_eq!(Outage::of_tool(error), of_tool, "{error}");
        assert_eq!(Outage::of_provider(error), of_provider, "{error}");
    }
}

proptest! {
    #[test]
    fn accepts_any_result(output in prop_oneof![any::<String>(), "[\\[\\]{}:,\"0nul a]{0,40}"], ok: bool) {
        for purpose in [Purpose::Search, Purpose::Run, Purpose::Act] {
            of(purpose, &output, ok);
        }
    }
}
