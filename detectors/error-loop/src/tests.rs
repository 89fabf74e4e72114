mod moves;

use std::fmt::Write as _;

use insta::assert_snapshot;
use proptest::{prelude::*, sample::select};
use watchkeeper_core::{Level, Severity, Status};
use watchkeeper_testing::{Trace, detector, findings, laws, play, play_detector};

use crate::ErrorLoop;

#[test]
fn counts_failures_of_any_tool() {
    let trace = r"
        0s    prompt fix it
        +5s   repeat 3 every 5s: call Bash make ;; result fail no rule to make it
        +5s   repeat 3 every 5s: call Edit a.rs ;; result fail old text does not exist
        +5s   call Read a.rs
        +1s   result fn main() {}
        +5s   repeat 3 every 5s: call Edit b.rs ;; result fail text is ambiguous
        +5s   call Edit a.rs
        +1s   result done
    ";
    assert_snapshot!(play::<ErrorLoop>("of = 'failure'", trace), @"
    15s     low       tools failed 3 times in 10s, without progress in between, the last from `Bash`: `no rule to make it`
    25s     medium    tools failed 5 times in 20s, without progress in between, the last from `Edit`: `old text does not exist`
    51s     high      tools failed 9 times in 46s, without progress in between, the last from `Edit`: `text is ambiguous`
    57s     resolved  no further failures after 9: a tool succeeded
    ");
}

#[test]
fn a_success_resets_the_count_of_failures() {
    let after = |between: &str| {
        let fail = "repeat 2 every 1s: call Edit x ;; result fail no such text in it";
        play::<ErrorLoop>("of = 'failure'", &format!("0s {fail}\n{between}\n+1s {fail}"))
    };
    for success in [
        "+1s call Edit y\n+1s result done",
        "+1s call Bash make\n+1s result done",
        "+1s call AskUserQuestion what\n+1s result this",
        "+1s prompt go on",
    ] {
        assert_eq!(after(success), "", "{success}");
    }
    for other in [
        "+1s call Read y\n+1s result text",
        "+1s synthetic go on\n+1s message continuing",
        "+1s call Bash make\n+1s result declined not now",
        "+1s call Bash make\n+1s result sibling a parallel call failed",
    ] {
        let found = after(other);
        assert!(found.contains("low       tools failed 3 times"), "{other}: {found}");
    }
}

#[test]
fn an_edit_that_repeats_the_previous_one_is_no_progress() {
    let trace = "
        0s   call Edit x
        +1s  result done
        +1s  repeat 5 every 1s: call Bash make ;; result fail cannot find it ;; call Edit x ;; result done
        +1s  call Edit y
        +1s  result done
    ";
    assert_snapshot!(play::<ErrorLoop>("of = 'failure'", trace), @"
    4s      low       tools failed 3 times in 2s, without progress in between, the last from `Bash`: `cannot find it`
    6s      medium    tools failed 5 times in 4s, without progress in between, the last from `Bash`: `cannot find it`
    8s      resolved  no further failures after 5: a tool succeeded
    ");
    assert_snapshot!(play::<ErrorLoop>("of = 'error'", trace), @"
    4s      low       the same error occurred 3 times in 2s, the last from `Bash`: `cannot find it`
    6s      medium    the same error occurred 5 times in 4s, the last from `Bash`: `cannot find it`
    ");
}

#[test]
fn an_error_that_remains_after_changes_counts_less() {
    let opens = |at: u64, n_rounds: u32| {
        let mut trace = "0s prompt fix it\n".to_owned();
        for n in 0..n_rounds {
            let change = format!("+9s call Edit lib.rs {n}\n+1s result done\n");
            trace += &change;
            trace += "+9s call Bash make\n+1s result fail lib.rs:7: error: expected ;\n";
        }
        opens("of = 'error'", at, &trace)
    };
    assert!(!opens(2, 5) && opens(2, 6));
    assert!(!opens(3, 7) && opens(3, 8));
}

/// Errors with which clients and providers end a turn. True if only a person can remove the
/// reason.
const TURN_ERRORS: &[(bool, &str)] = &[
    (
        false,
        "API Error: 400 invalid_request_error: messages.3: tool_use ids were found without tool_result",
    ),
    (true, "API Error: 401 authentication_error: invalid x-api-key"),
    (false, "API Error: 403 permission_error: your organization has no access to this model"),
    (false, "API Error: 404 not_found_error: model: opus-9"),
    (true, "API Error: 413 request_too_large"),
    (false, "API Error: 529 overloaded_error: Overloaded"),
    (true, "Credit balance is too low"),
    (true, "You exceeded your current quota, please check your plan and billing details"),
    (true, "prompt is too long: 213462 tokens > 200000 maximum"),
    (true, "This model's maximum context length is 128000 tokens"),
    (true, "input length and max_tokens exceed context limit"),
    (true, "You have hit your limit. It resets at 5pm"),
    (true, "usage limit reached"),
    (false, "fetch failed"),
    (false, "TypeError: terminated"),
    (false, "read ECONNRESET"),
    (false, "connect ECONNREFUSED 127.0.0.1:8080"),
    (false, "getaddrinfo ENOTFOUND api.example.com"),
    (false, "getaddrinfo EAI_AGAIN api.example.com"),
    (false, "socket hang up"),
    (false, "Premature close"),
    (false, "stream disconnected before completion: stream closed before response.completed"),
    (false, "error sending request for url"),
    (false, "unexpected end of JSON input"),
    (false, "self-signed certificate in certificate chain"),
    (false, "Request was aborted by the server"),
    (true, "OAuth token has expired"),
    (false, "Model not found"),
    (false, "thinking blocks cannot be modified"),
    (false, "something else"),
];

#[test]
fn turns_that_end_in_an_error_are_counted_whatever_its_text() {
    for (is_lost, text) in TURN_ERRORS {
        let dead = format!("0s repeat 3 every 30s: prompt go on ;; error {text}");
        assert!(opens("of = 'turn'", 3, &dead), "{text}");
        let recovers =
            format!("0s repeat 9 every 30s: prompt go on ;; error {text} ;; message it is done");
        assert_eq!(opens("of = 'turn'", 2, &recovers), *is_lost, "{text}");
    }
    let stopped = "0s repeat 9 every 30s: prompt go on ;; error Request interrupted by user";
    assert!(!opens("of = 'turn'", 1, stopped));
}

#[test]
fn a_turn_that_a_limit_ended_counts_as_six() {
    let trace = "
        0s   prompt go on
        1m   call Bash make
        +1m  result done
        +1s  error stream error
        +1s  error usage_limit_reached: the usage limit has been reached
        2h   prompt go on
        +1s  error You have hit your weekly limit
        9h   prompt go on
        +1s  message here I am
        +1s  turn_end
        +1h  prompt go on
        +1s  error stream error
        +1h  agent a: agent_start
        +1s  agent a: error You have hit your weekly limit
    ";
    let mut detector = detector::<ErrorLoop>("of = 'turn'");
    detector.levels = vec![Level::new(3, Severity::Low), Level::new(6, Severity::Medium)];
    assert_snapshot!(play_detector(&detector, trace), @"
    2m2s    medium    a limit ended the turn: `usage_limit_reached: the usage limit has been reached`
    9h1s    resolved  no further failed turns after 2: the agent sent a message
    11h4s   low       a: a limit ended the turn: `You have hit your weekly limit`
    ");
}

#[test]
fn denied_calls_in_a_row_are_counted_unless_a_person_denied_them() {
    let trace = "
        0s   call Bash make
        +1s  result blocked the classifier is unavailable
        +1s  call Read a
        +1s  result some text
        +1s  call #1 Agent @r look here
        +0s  call #2 Agent @r look there
        +1s  result #1 blocked the classifier is unavailable
        +1s  result #2 blocked the classifier is unavailable
        +9s  call Bash make
        +1s  result done
    ";
    let mut detector = detector::<ErrorLoop>("of = 'denial'");
    detector.levels = vec![Level::new(3, Severity::Medium)];
    assert_snapshot!(play_detector(&detector, trace), @"
    6s      medium    3 calls in a row were denied in 5s, and no person was asked: `Agent` returned `the classifier is unavailable`
    16s     resolved  no further denied calls after 3: another call ran
    ");
    let n_denials = |text: &str| (1..9).take_while(|at| opens("of = 'denial'", *at, text)).count();
    for (trace, n) in [
        ("0s repeat 4 every 9s: call Bash make ;; result blocked no", 4),
        ("0s repeat 4 every 9s: call Bash make ;; result declined no", 0),
        ("0s repeat 4 every 9s: call Bash make ;; result fail no", 0),
        (
            "0s repeat 4 every 9s: call Bash make ;; result blocked no ;; call Bash ls ;; result a",
            1,
        ),
        ("0s repeat 4 every 9s: call Bash make ;; result blocked no ;; prompt go on", 1),
        ("0s repeat 4 every 9s: call Bash make ;; result blocked no ;; synthetic go on", 4),
        // Parallel calls count as one, except delegations.
        ("0s repeat 4 every 9s: call Bash @r make ;; result blocked no", 1),
        ("0s repeat 4 every 9s: call Agent @r look ;; result blocked no", 4),
        (
            "0s call Bash make\n1s result blocked no\n\
             +1s repeat 5 every 1s: call Read a ;; result text\n\
             +1s call Bash make\n+1s result blocked no",
            1,
        ),
        (
            "0s call Bash make\n1s result blocked no\n\
             +1s repeat 5 every 1s: call Read a ;; result fail no such file\n\
             +1s call Bash make\n+1s result blocked no",
            2,
        ),
        // Calls that Watchkeeper answered are no denials, and no end of them.
        ("0s repeat 4 every 9s: call Bash make ;; result intercepted fail no", 0),
        (
            "0s repeat 4 every 9s: call Bash make ;; result blocked no ;; call Bash ls ;; result intercepted ok a",
            4,
        ),
        // The harness begins other turns.
        ("0s repeat 4 every 9m: synthetic look ;; call Bash make ;; result blocked no", 1),
    ] {
        assert_eq!(n_denials(trace), n, "{trace}");
    }
}

#[test]
fn a_turn_whose_process_is_gone_is_low_by_itself() {
    let gone = "5m prompt go on\n6m session_end process_gone";
    assert!(opens("of = 'turn'", 3, gone));
    assert!(!opens("of = 'turn'", 4, gone));
    let errors = format!("0s repeat 4 every 30s: prompt go on ;; error it died\n{gone}");
    assert!(opens("of = 'turn'", 5, &errors));
    assert!(!opens("of = 'turn'", 6, &errors));
    assert!(!opens("of = 'turn'", 1, "0s prompt go on\n1m session_end done"));
    assert_snapshot!(play::<ErrorLoop>("of = 'turn'", gone), @"
    6m      low       the process of the client ended amid a turn
    6m      resolved  over, as the session ended
    ");
}

#[test]
fn equal_prompts_of_the_harness_count_until_a_tool_returns() {
    let prompt = "synthetic the call could not be parsed, please retry ;; message I retry";
    assert!(opens("of = 'prompt'", 5, &format!("0s repeat 5 every 3s: {prompt}")));
    let works = format!("0s repeat 9 every 3s: {prompt} ;; call Read x ;; result a text");
    assert!(!opens("of = 'prompt'", 2, &works));
    let person = format!("0s repeat 9 every 3s: {prompt} ;; prompt go on");
    assert!(!opens("of = 'prompt'", 2, &person));
}

#[test]
fn the_same_error_is_counted_whatever_is_tried() {
    let trace = r#"
        0s   call Bash cargo check
        +1s  result fail "1 unit built\nerror[E0038]: the trait is not dyn compatible\n"
        +1s  call Bash cargo check --all
        +1s  result fail "20 units built\nerror[E0038]: the trait is not dyn compatible\n"
        +1s  call Bash true
        +1s  result fail exit 1
        +1s  call Edit main.rs
        +1s  result fail File has not been read yet
        +1s  call Bash cargo build
        +1s  result fail "error[E0038]: the trait is not dyn compatible\n1 error"
        +1s  call Bash cargo build
        +1s  result fail another error altogether
    "#;
    assert_snapshot!(play::<ErrorLoop>("of = 'error'", trace), @"
    9s      low       the same error occurred 3 times in 8s, the last from `Bash`: `error[E0038]: the trait is not dyn compatible`
    11s     resolved  no further failures after 3: another error occurred
    ");
}

#[test]
fn other_errors_of_the_same_call_count_half() {
    let trace = r"
        0s   call Bash make
        +1s  result fail cannot find a rule
        +1s  call Bash make
        +1s  result fail invalid target in it
        +1s  call Bash make
        +1s  result fail no such file at all
        +1s  call Bash make
        +1s  result fail unknown option to it
        +1s  call Bash make
        +1s  result fail unable to link it
        +1s  call Bash make all
        +1s  result fail unable to link it
    ";
    assert_snapshot!(play::<ErrorLoop>("of = 'error'", trace), @"
    9s      low       the same call failed 5 times in 8s, with different errors, the last from `Bash`: `unable to link it`
    11s     resolved  no further failures after 5: another error occurred
    ");
    let trace = "0s repeat 3 every 1s: call Bash make ;; result fail nope";
    assert_snapshot!(play::<ErrorLoop>("of = 'error'", trace), @"2s      low       the same error occurred 3 times in 2s, the last from `Bash`: `nope`");
    let trace = "0s repeat 9 every 1s: call Bash make ;; result fail nope ;; call Bash test ;; result fail nope";
    assert_snapshot!(play::<ErrorLoop>("of = 'error'", trace), @"");
}

#[test]
fn an_agent_that_gave_up_counts_as_five_attempts() {
    let of = |message: &str| {
        play::<ErrorLoop>("of = 'retry'", &format!("0s prompt go on\n+1m error {message}"))
    };
    assert_snapshot!(of("We are experiencing high demand"), @"1m      medium    the model did not respond, and the agent gave up: `We are experiencing high demand`");
    assert_ne!(of("API Error: 500 internal"), "");
    assert_eq!(of("the prompt is too long"), "");
    assert_eq!(of("please log in"), "");
}

#[test]
fn an_error_counts_half_after_a_success_of_another_tool() {
    let trace = "0s repeat 9 every 1s: call Bash make ;; result fail cannot find it ;; call Bash ls ;; result x";
    assert_snapshot!(play::<ErrorLoop>("of = 'error'", trace), @"
    4s      low       the same error occurred 5 times in 4s, the last from `Bash`: `cannot find it`
    8s      medium    the same error occurred 9 times in 8s, the last from `Bash`: `cannot find it`
    ");
}

#[test]
fn parallel_failures_are_one_failure() {
    let trace = "0s repeat 9 every 1s: call Bash @r1 make ;; result fail cannot find it";
    assert_snapshot!(play::<ErrorLoop>("of = 'error'", trace), @"");
    assert_snapshot!(play::<ErrorLoop>("of = 'failure'", trace), @"");
}

#[test]
fn temporary_failures_and_reads_count_less() {
    let of = |call: &str, result: &str| {
        let trace = format!("0s repeat 20 every 1s: call {call} ;; result {result}");
        play::<ErrorLoop>("of = 'error'", &trace)
    };
    assert_snapshot!(of("Fetch x", "fail HTTP 429 Too Many Requests"), @"
    8s      low       the same error occurred 9 times in 8s, the last from `Fetch`: `HTTP 429 Too Many Requests`
    14s     medium    the same error occurred 15 times in 14s, the last from `Fetch`: `HTTP 429 Too Many Requests`
    ");
    assert_snapshot!(of("Read x", "fail File does not exist"), @"
    5s      low       the same error occurred 6 times in 5s, the last from `Read`: `File does not exist`
    9s      medium    the same error occurred 10 times in 9s, the last from `Read`: `File does not exist`
    17s     high      the same error occurred 18 times in 17s, the last from `Read`: `File does not exist`
    ");
    assert_snapshot!(of("Edit x", "fail File has not been read yet"), @"");
    assert_snapshot!(of("Bash x", "fail exit 1"), @"");
}

/// Each row: a call and its failure. Every 20 seconds, the failure is expected for half an
/// hour; within seconds, or for two hours, it is not.
#[test]
fn failures_of_polls_and_outages_are_measured_by_time_if_spaced() {
    let alarms = |n, gap, call: &str| {
        let trace = format!("0s repeat {n} every {gap}s: {call}");
        play::<ErrorLoop>("of = 'error'", &trace).contains(" low ")
    };
    for poll in [
        r#"call Bash {"command":"nc -z localhost 5432"} ;; result fail connection to the port failed"#,
        r#"call Bash {"command":"curl -s localhost:3000/health"} ;; result fail cannot connect to the server"#,
        r#"call Bash {"command":"sleep 20; cat out/a.txt"} ;; result fail cat: no such file as out/a.txt"#,
        r#"call Bash {"command":"kubectl get pod web"} ;; result fail pods "web" is not found here"#,
        "call get_job_status a ;; result fail the job is unknown to the scheduler",
        "call Fetch a ;; result fail HTTP 503 Service Unavailable",
        r#"call llm {} ;; result fail {"type":"rate_limit_error"}"#,
    ] {
        assert!(!alarms(90, 20, poll), "{poll}");
        assert!(alarms(360, 20, poll), "{poll}");
        assert!(alarms(15, 1, poll), "{poll}");
    }
    for other in [
        r#"call Bash {"command":"make"} ;; result fail no rule to make target"#,
        r#"call Bash {"command":"cat out/a.txt"} ;; result fail cat: no such file as out/a.txt"#,
        "call Fetch a ;; result fail HTTP 401 is not allowed",
    ] {
        assert!(alarms(5, 20, other), "{other}");
    }
}

#[test]
fn edits_of_a_missing_text_count_two_thirds_unless_repeated() {
    let of = |edits: &str, text: &str| {
        let trace = format!("0s repeat 1 every 1s: {}", edits.replace("ERROR", text));
        play::<ErrorLoop>("of = 'error'", &trace)
    };
    let edits = "call Edit a ;; result fail ERROR ;; call Edit b ;; result fail ERROR ;; call Edit c ;; result fail ERROR ;; call Edit d ;; result fail ERROR";
    for missing in [
        "String to replace not found in the file",
        "No replacement was performed, old_str did not appear in it",
        "Failed to find expected lines in a.rs",
    ] {
        assert_eq!(of(edits, missing), "", "{missing}");
        let same = edits.replace("Edit b", "Edit a").replace("Edit c", "Edit a");
        assert!(of(&same, missing).contains(" low "), "{missing}");
    }
    assert!(of(edits, "permission denied for this file").contains(" low "));
}

#[test]
fn a_scheduled_turn_resets_the_count() {
    let turn = |gap| {
        format!(
            "0s repeat 6 every {gap}s: synthetic look ;; call Mail a ;; result fail the login was refused ;; message no ;; turn_end"
        )
    };
    assert_eq!(play::<ErrorLoop>("of = 'error'", &turn(300)), "");
    assert!(play::<ErrorLoop>("of = 'error'", &turn(1)).contains(" medium "));
}

#[test]
fn resolves_when_no_retry_occurs_for_some_time() {
    let trace = "
        0s   error retry=1 overloaded
        +1s  error retry=2 overloaded
        +2s  error retry=3 overloaded
        +4s  message here I am
        +1s  error retry=1 overloaded
        +1s  error retry=2 overloaded
        +4m  error retry=1 overloaded
        advance 10m
        +1s  error retry=12 overloaded
    ";
    assert_snapshot!(play::<ErrorLoop>("of = 'retry'", trace), @"
    3s      low       3 attempts to get a response from the model failed in 3s: `overloaded`
    9s      medium    5 attempts to get a response from the model failed in 9s: `overloaded`
    9m9s    resolved  no further retries for 5m
    14m10s  high      attempt 12 to get a response from the model failed: `overloaded`
    ");
    assert_snapshot!(play::<ErrorLoop>("of = 'retry'\nwithin = '2s'", trace), @"
    3s      low       attempt 3 to get a response from the model failed: `overloaded`
    5s      resolved  no further retries for 2s
    14m10s  high      attempt 12 to get a response from the model failed: `overloaded`
    ");
}

#[test]
fn counts_compactions_without_work_in_between() {
    let trace = "
        0s   prompt go
        +1s  repeat 4 every 1s: compaction before=9 after=8 ;; synthetic go on ;; usage input=10
        +1s  call Bash make
        +1s  result fail no rule to make it
        +1s  compaction
        +1s  message let me see
        +1s  repeat 2 every 1s: compaction
        +1s  prompt are you there
        +1s  repeat 3 every 1s: compaction
        +1s  call Read x
        +1s  result text
    ";
    assert_snapshot!(play::<ErrorLoop>("of = 'compaction'", trace), @"
    3s      low       the context was compacted 3 times in 2s, without work in between
    7s      medium    the context was compacted 5 times in 6s, without work in between; since it was found: 20 tokens
    8s      resolved  no further compactions after 5: the agent sent a message; since it was found: 20 tokens
    14s     low       the context was compacted 3 times in 2s, without work in between
    16s     resolved  no further compactions after 3: a tool succeeded
    ");
}

#[test]
fn message_for_a_single_failure() {
    let first = |options: &str, trace: &str| {
        let mut detector = detector::<ErrorLoop>(options);
        detector.levels = vec![Level::new(1, Severity::Low)];
        let trace: Trace = trace.parse().expect("every line is an event");
        findings(&detector, &trace).into_iter().next().map(|it| it.message).unwrap_or_default()
    };
    let fails = "0s call Bash make\n+1s result fail no rule to make it";
    assert_snapshot!(first("of = 'failure'", fails), @"a tool failed once, from `Bash`: `no rule to make it`");
    assert_snapshot!(first("of = 'error'", fails), @"an error occurred once, from `Bash`: `no rule to make it`");
    assert_snapshot!(first("of = 'retry'", "0s error retry=1 overloaded"), @"an attempt to get a response from the model failed: `overloaded`");
    assert_snapshot!(first("of = 'compaction'", "0s compaction"), @"the context was compacted once");
}

#[test]
fn state_of_a_stream_is_small() {
    assert!(size_of::<ErrorLoop>() <= 32, "{}", size_of::<ErrorLoop>());
}

#[test]
fn laws_hold() {
    for of in ["failure", "error", "retry", "compaction", "turn", "prompt"] {
        laws::check::<ErrorLoop>(&format!("of = '{of}'"));
    }
    laws::check::<ErrorLoop>("of = 'retry'\nwithin = '10s'");
    let denied = "0s repeat 4 every 2s: call WebFetch {} ;; result blocked";
    laws::of::<ErrorLoop>("of = 'denial'").traces([denied]).check();
}

/// Returns true if a finding opens with a level at `at`.
fn opens(options: &str, at: u64, trace: &str) -> bool {
    let trace: Trace = trace.parse().expect("every line is an event");
    let mut detector = detector::<ErrorLoop>(options);
    detector.levels = vec![Level::new(at, Severity::Medium)];
    findings(&detector, &trace).iter().any(|it| it.status == Status::Open)
}

const STEPS: &[&str] = &[
    "call Bash make ;; result fail no rule to make it",
    "call Bash test ;; result fail no such test is there",
    "call Edit x ;; result fail no such text in it",
    "call Edit x ;; result done",
    "call Edit y ;; result done",
    "call Bash ls ;; result done",
    "call Read x ;; result done",
    "call Bash make ;; result declined not now",
    "synthetic go on",
    "prompt go on",
];

/// Returns the length of the longest row of failures.
fn longest_row(steps: &[usize]) -> u64 {
    // After a prompt of a person, no change repeats the previous one.
    let last_edit = |to: usize| steps[..to].iter().rev().find(|it| matches!(it, 3 | 4 | 9));
    let last_failure = |to: usize| steps[..to].iter().rev().find(|it| **it <= 2);
    let ends = |at: usize| match steps[at] {
        3 | 4 => {
            last_edit(at) != Some(&steps[at]) || steps[at] == 3 && last_failure(at) == Some(&2)
        }
        5 | 9 => true,
        _ => false,
    };
    let (mut longest, mut n) = (0, 0);
    for (at, step) in steps.iter().enumerate() {
        n = if ends(at) { 0 } else { n + u64::from(*step <= 2) };
        longest = longest.max(n);
    }
    longest
}

proptest! {
    #[test]
    fn agrees_with_a_naive_count_of_failures(
        steps in proptest::collection::vec(0..STEPS.len(), 0..30),
        at in 1..6_u64,
    ) {
        let mut trace = String::new();
        for step in &steps {
            writeln!(trace, "+1s repeat 1 every 1s: {}", STEPS[*step]).expect("writing to a string succeeds");
        }
        let is_due = at <= longest_row(&steps);
        prop_assert_eq!(opens("of = 'failure'", at, &trace), is_due, "{}", trace);
    }

    #[test]
    fn agrees_with_a_naive_count_of_retries(
        gaps in proptest::collection::vec(select(&[0_u64, 1, 5, 9, 10, 11, 30][..]), 0..30),
        at in 1..8_u64,
    ) {
        let (mut trace, mut now, mut times) = (String::new(), 0, Vec::new());
        for gap in gaps {
            now += gap;
            times.push(now);
            writeln!(trace, "{now}s error retry=0 overloaded").expect("writing to a string succeeds");
        }
        let n_within = |end: &u64| times.iter().filter(|it| **it <= *end && *end < **it + 10).count();
        // Of attempts at the same time, the last one has the full count.
        let most = times.iter().map(n_within).max().unwrap_or(0);
        let is_due = at <= u64::try_from(most).expect("the number is small");
        prop_assert_eq!(opens("of = 'retry'\nwithin = '10s'", at, &trace), is_due, "{}", trace);
    }

    #[test]
    fn arguments_and_numbers_do_not_change_an_error(
        n in 1..12_u64,
        at in 1..12_u64,
        numbers in proptest::collection::vec(any::<u32>(), 12),
    ) {
        let mut trace = String::new();
        for (_i, number) in (0..n).zip(numbers) {
            writeln!(trace, "+1s call Bash step {n}\n+1s result fail line {number}: no such word")
                .expect("writing to a string succeeds");
        }
        prop_assert_eq!(opens("of = 'error'", at, &trace), at <= n, "{}", trace);
    }
}
