//! The weights of repetitions, by the purpose of the call and the class of the result.

use watchkeeper_testing::play;

use super::{RepeatToolCall, alarms};

/// Each row: a tool that acknowledges different calls, with its result.
#[test]
fn acknowledgements_count_for_equal_calls_only() {
    for (tool, result) in [
        ("browser_click", "clicked"),
        ("browser_type", "Typed the text into the field"),
        ("browser_select_option", "Selected the option in the list"),
        ("browser_file_upload", "Uploaded the file"),
        ("browser_act", "Action completed successfully."),
        ("browser_evaluate", "true"),
        ("browser_fill_form", "The form has been filled"),
        ("slack_post_message", r#"{"ok":true,"channel":"C1"}"#),
        ("slack_add_reaction", r#"{"ok":true}"#),
        ("mcp__github__add_issue_comment", "Comment was added to the issue"),
        ("mcp__github__update_issue", "Issue updated"),
        ("mcp__linear__set_label", "label set"),
        ("send_email", "Email queued for delivery to the recipient"),
        ("set_cell", "ok"),
        ("append_row", "1 row added to the sheet"),
        ("upload_file", "upload finished without complaints"),
        ("submit_form", "Submitted."),
        ("TodoWrite", "Todos have been modified successfully. Ensure that you continue"),
        ("update_plan", "Plan updated"),
        ("TaskUpdate", "Updated the task and its owner"),
        ("Bash", "Command running in background with ID: abc. Output is being written to: /tmp/a"),
        ("Bash", "(no output)"),
        ("Bash", "All checks have passed"),
        ("memory_store", "Stored the memory successfully"),
        ("publish_event", "accepted by the queue of events"),
        ("device_tap", "Tapped the screen at the position"),
    ] {
        let of = |arguments: fn(usize) -> usize| {
            let calls = (0..9).map(|n| {
                format!("+2s call {tool} {{\"n\":{}}}\n+1s result {result}", arguments(n))
            });
            calls.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(play::<RepeatToolCall>("same = ['tool', 'result']", &of(|n| n)), "", "{tool}");
        assert!(alarms("", &of(|_| 1)), "{tool}");
    }
}

/// Each row: a search that finds nothing, and the same search with a finding.
#[test]
fn nothing_found_counts_half_for_different_calls() {
    let levels = "same = ['tool', 'result']";
    for (nothing, found) in [
        ("[]", r#"["src/main.rs"]"#),
        ("null", r#"{"a":"b","c":"d"}"#),
        ("0 rows", "10 rows of data"),
        ("No results", "Results: a.rs, b.rs"),
        ("Not found", "It was found in a.rs"),
        ("(no output)", "a.rs: foo, b.rs: foo"),
        ("No files found", "a.rs and b.rs and c.rs"),
        (r#"{"results": []}"#, r#"{"results": ["a.rs"]}"#),
        ("undefined", "undefined is the value of `a` in the table"),
        ("No hits", "Hits: a.rs, b.rs, c.rs"),
        ("Total: 0", "Total: ten pages about parsers"),
        ("Query returned zero rows.", "Query returned the rows `a` and `b`"),
        ("Nothing matches your search", "Something matches your search: a.rs"),
        ("No documents matched the query", "The document a.md matched the query"),
        ("Couldn't find any pages about this", "Found the page `parser` about this"),
        ("Your search did not match any articles.", "Your search matched the article `a`"),
        ("The search did not return any results", "The search returned the page `a`"),
        ("Searched 12 files, no matches", "Searched 12 files, one match: a.rs"),
        ("Empty set (0.00 sec)", "Rows: a, b and c of the list"),
        ("no references found for `foo`", "references of `foo`: a.rs, b.rs"),
        ("<results></results>", "<results><page>a</page></results>"),
        (r#"{"count":0,"next":null,"results":[]}"#, r#"{"next":null,"results":["a"]}"#),
        (r#"{"ids":[[]],"documents":[[]]}"#, r#"{"ids":[["a"]],"documents":[["b"]]}"#),
        (r#"{"data":{"search":{"nodes":[]}}}"#, r#"{"data":{"search":{"nodes":["a"]}}}"#),
        (r#"[{"type":"text","text":"[]"}]"#, r#"[{"type":"text","text":"a page"}]"#),
        ("(0 rows)", "(the rows a and b)"),
    ] {
        let of = |n: usize, result: &str| {
            let calls = (0..n).map(|n| format!("+2s call search {n}\n+1s result {result}"));
            calls.collect::<Vec<_>>().join("\n")
        };
        assert!(!alarms(levels, &of(7, nothing)), "{nothing}");
        assert!(alarms(levels, &of(14, nothing)), "{nothing}");
        assert!(alarms(levels, &of(7, found)), "{found}");
    }
    // Different texts of one class are equal.
    let texts = ["[]", "null", "No results for this query", "0 rows", r#"{"items":[]}"#, "None"];
    let calls: Vec<_> = (0..14)
        .map(|n| format!("+2s call search {n}\n+1s result {}", texts[n % texts.len()]))
        .collect();
    assert!(alarms(levels, &calls.join("\n")));
}

/// Each row: a step that may be repeated, and an act of the same kind that may not.
#[test]
fn steps_count_less_than_acts() {
    for (step, act) in [
        ("computer_use_key down", "computer_use_click down"),
        ("browser_press_key Tab", "browser_click e1"),
        ("mouse_scroll 3", "mouse_drag 3"),
        ("undo {}", "submit {}"),
        ("next_page {}", "publish_page {}"),
        ("send_keys Down", "send_message Down"),
        (r#"computer {"action":"scroll"}"#, r#"computer {"action":"left_click"}"#),
        (r#"Bash {"command":"tmux send-keys Down"}"#, r#"Bash {"command":"xdotool click 1"}"#),
        ("browser_navigate_back {}", "browser_navigate http://a.example"),
        ("mcp__playwright__browser_press_key ArrowDown", "mcp__playwright__browser_hover e1"),
        ("keyPress Enter", "valueStore Enter"),
        ("keyboard_hotkey ctrl+z", "keyboard_type z"),
        ("page_down {}", "page_publish {}"),
        ("scrollDown {}", "pinDown {}"),
        ("swipe_left {}", "tap_left {}"),
        ("volume_up {}", "volume_set 3"),
        ("debugger_step_over {}", "debugger_restart {}"),
        ("mcp__dap__next {}", "mcp__dap__disconnect {}"),
        ("gdb_step {}", "gdb_attach {}"),
        ("game_move left", "game_submit left"),
        ("robot_turn left", "robot_connect left"),
        ("camera_pan 5", "camera_start 5"),
        ("map_zoom in", "map_pin in"),
        ("video_seek 10", "video_play 10"),
        ("slides_previous {}", "slides_save {}"),
        ("redo {}", "approve {}"),
        (r#"terminal_send_input {"input":"q"}"#, "terminal_close {}"),
        ("nvim_feedkeys j", "nvim_save j"),
        ("mouse_wheel 3", "mouse_press 3"),
        (
            r#"computer {"action":"key","text":"Down"}"#,
            r#"computer {"action":"type","text":"Down"}"#,
        ),
        (r#"execute-command {"command":"Down"}"#, r#"execute-command {"command":"down"}"#),
        (r#"Bash {"command":"xdotool key Down"}"#, r#"Bash {"command":"xdotool type Down"}"#),
        (r#"Bash {"command":"adb shell input swipe 5 9 5 1"}"#, r#"Bash {"command":"adb reboot"}"#),
    ] {
        let of =
            |n, call: &str| format!("0s repeat {n} every 2s: call {call} ;; result done with it");
        assert!(!alarms("", &of(28, step)), "{step}");
        assert!(alarms("", &of(60, step)), "{step}");
        assert!(alarms("", &of(9, act)), "{act}");
    }
    // Equal clicks are found, whether they return a page that does not change or confirm.
    let goods = "the page shows a list of goods, ".repeat(15);
    for result in [&*goods, "Clicked"] {
        let clicks = format!("0s repeat 9 every 2s: call browser_click e7 ;; result {result}");
        assert!(alarms("", &clicks), "{result}");
    }
    // A page that does not change shows that the step has no effect.
    let page = "the page shows a list of goods, ".repeat(15);
    let scrolls = |n| format!("0s repeat {n} every 2s: call mouse_scroll 3 ;; result {page}");
    assert!(!alarms("", &scrolls(9)) && alarms("", &scrolls(12)));
}

/// Each row: a call and its result. Polled every 20 seconds, the call may repeat for
/// half an hour, but not for more than an hour.
#[test]
fn honest_polls_are_reported_after_an_hour() {
    for poll in [
        r#"call job_status {"id":1} ;; result {"state":"running"}"#,
        "call get_deployment_progress {} ;; result the build is queued behind two others",
        "call check_deployment {} ;; result the same three replicas are there",
        "call TaskOutput {} ;; result no change since the last look at the task",
        r#"call mcp__github__get_workflow_run {} ;; result {"status":"in_progress","id":"a"}"#,
        r"call mcp__kubernetes__pods_list {} ;; result web ContainerCreating",
        r#"call Bash {"command":"kubectl get pods"} ;; result web-1 0/1 Init"#,
        r#"call Bash {"command":"ps aux | grep vite"} ;; result vite --port 3000 serves the shop"#,
        r#"call Bash {"command":"sleep 20 && gh run view 12"} ;; result the same jobs are listed"#,
        r#"call Bash {"command":"sleep 20; tail -3 a.log"} ;; result building the crate"#,
        r#"call Bash {"command":"gh pr checks 7"} ;; result lint has no result yet, tests neither"#,
        r#"call Bash {"command":"curl -s localhost:3000/health"} ;; result fail"#,
        r#"call run_shell_command {"command":"docker compose logs web"} ;; result web starts up"#,
        r#"call Bash {"command":"aws ecs describe-services"} ;; result rollout of the shop goes on"#,
        r#"call Bash {"command":"terraform show"} ;; result the same plan is shown here"#,
        r#"call Bash {"command":"squeue -u me"} ;; result 12 PD gpu-node train.sh"#,
        r#"call shell {"command":["bash","-lc","sleep 15 && ls out"]} ;; result a.bin"#,
        r#"call Bash {"command":"nvidia-smi"} ;; result gpu memory is in use by train.py"#,
        r#"call Bash {"command":"systemctl is-active shop"} ;; result activating the shop unit"#,
        r#"call Bash {"command":"tmux capture-pane -p"} ;; result the prompt of the other pane"#,
        r#"call describe_stacks {} ;; result {"StackStatus":"CREATE_IN_PROGRESS"}"#,
        "call fetch_build {} ;; result build a is still compiling",
        r#"call Bash {"command":"sleep 15; cat out/state"} ;; result waiting for the lock of the other"#,
        r#"call Bash {"command":"sleep 20 && ./check.sh"} ;; result two of the files are there"#,
        "call argo_app {} ;; result phase: Progressing",
        "call frobnicate {} ;; result job 12 is still running",
    ] {
        let of = |n| format!("0s repeat {n} every 20s: {poll}");
        assert!(!alarms("", &of(90)), "{poll}");
        assert!(alarms("", &of(190)), "{poll}");
        let fast = format!("0s repeat 45 every 1s: {poll}");
        assert!(alarms("", &fast), "{poll}");
    }
    // A sleep between two calls makes them a poll.
    let calls = r#"call Bash {"command":"cat a.txt"} ;; result the same text as before ;; call Bash {"command":"sleep 20"} ;; result ok"#;
    assert!(!alarms("", &format!("0s repeat 20 every 21s: {calls}")));
    let calls = r#"call Bash {"command":"cat a.txt"} ;; result the same text as before"#;
    assert!(alarms("", &format!("0s repeat 20 every 21s: {calls}")));
}

/// Each row: a call that is no poll, with its result. Every 20 seconds, it may not repeat.
#[test]
fn acts_and_reads_are_no_polls() {
    let of = |n, call: &str| format!("0s repeat {n} every 21s: {call}");
    for call in [
        r#"call Bash {"command":"gh workflow run deploy.yml"} ;; result workflow was dispatched"#,
        r#"call Bash {"command":"kubectl rollout restart deploy/shop"} ;; result deploy/shop restarted"#,
        r#"call Bash {"command":"kubectl apply -f a.yaml --wait"} ;; result service/shop unchanged"#,
        r#"call Bash {"command":"curl -X POST http://localhost:3000/api/orders"} ;; result {"id":7}"#,
        r#"call Bash {"command":"kubectl get pods -o name | xargs kubectl delete"} ;; result deleted"#,
        r#"call Bash {"command":"helm upgrade shop . --history-max 5"} ;; result release upgraded"#,
        r#"call Bash {"command":"docker rm $(docker ps -aq)"} ;; result fail no such container"#,
        r#"call Bash {"command":"aws s3 sync logs s3://a/logs"} ;; result fail access was denied"#,
        r#"call Bash {"command":"docker exec db ls"} ;; result bin etc usr var"#,
        r#"call Bash {"command":"cat > run.sh <<EOF\nsleep 5\nmake\nEOF"} ;; result ok"#,
        r#"call Bash {"command":"sleep 1; npm test"} ;; result fail 3 of the tests do not pass"#,
        r#"call Bash {"command":"echo 'sleep 20; ps' > a.sh"} ;; result ok"#,
        "call check_types {} ;; result fail a.ts: type string is not assignable",
        "call run_checks {} ;; result fail two of the rules are not met",
        "call get_state {} ;; result the game is at the same level",
        "call list_events {} ;; result lunch with Ada",
        "call Read todo.md ;; result the parser is still broken",
        r#"call Read {"file_path":"a.log"} ;; result status: pending"#,
        r#"call Bash {"command":"ls"} ;; result server running on port 3000"#,
        "call submit_order {} ;; result status: pending",
        "call frobnicate {} ;; result the tests are still broken",
    ] {
        assert!(alarms("", &of(9, call)), "{call}");
    }
    // The agent sleeps between runs of a program.
    let sleep = r#"call Bash {"command":"sleep 20"} ;; result ok"#;
    let test = r#"call Bash {"command":"npm test"} ;; result fail 3 of the tests do not pass"#;
    assert!(alarms("", &of(9, &format!("{test} ;; {sleep}"))));
}

#[test]
fn different_states_and_contents_are_no_repetition() {
    let states = [
        r#"{"status":"queued","result":null}"#,
        r#"{"status":"running","result":null}"#,
        r#"{"message":"step 1","errors":[]}"#,
        r#"{"message":"step 2","errors":[]}"#,
        r#"{"message":"step 3","errors":[]}"#,
        r#"{"status":"cleanup","result":null}"#,
        r#"{"progress":"late","error":null}"#,
        r#"{"status":"completed","result":null}"#,
    ];
    let of = |n: usize| {
        let calls = (0..24).map(|at| format!("+1s call get_job 7\n+1s result {}", states[at % n]));
        play::<RepeatToolCall>("", &calls.collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(of(8), "");
    assert_ne!(of(1), "");
    let of = |tool: &str, n: usize| {
        let calls = (0..8).map(|at| {
            let text = at % n;
            format!("+1s call {tool} {{\"id\":7,\"description\":\"{text}\"}}\n+1s result updated 7")
        });
        alarms("", &calls.collect::<Vec<_>>().join("\n"))
    };
    for tool in ["update_issue", "frobnicate", "create_page", "send_report"] {
        assert!(!of(tool, 8), "{tool}");
        assert!(of(tool, 1), "{tool}");
    }
    assert!(of("Read", 8));
}
