use proptest::prelude::*;

use super::{Purpose, shell::for_each_command};
use crate::{Json, ToolCall, ToolClass};

fn of(tool: &str, arguments: &str) -> Purpose {
    let arguments = Json::parse(arguments).expect("the test contains valid JSON");
    ToolCall::new("1", tool, arguments).purpose
}

#[track_caller]
fn assert_of_command(command: &str, purpose: Purpose) {
    let arguments = Json::from(&serde_json::json!({ "command": command }));
    assert_eq!(ToolCall::new("1", "Bash", arguments).purpose, purpose, "{command}");
}

/// Each row: a tool, and a similar tool with the opposite purpose.
#[test]
fn recognizes_the_purpose_by_the_name() {
    use Purpose::{Act, Navigate, Other, Plan, Poll, Read, Run, Search, Wait, Write};
    for (tool, purpose, opposite, its_purpose) in [
        ("get_job_status", Poll, "get_job_description", Read),
        ("check_deployment", Poll, "deploy", Act),
        ("mcp__github__get_workflow_run_logs", Poll, "mcp__github__get_file_contents", Read),
        ("mcp__github__list_workflow_runs", Poll, "mcp__github__search_code", Search),
        ("mcp__github__add_issue_comment", Act, "mcp__github__create_issue", Write),
        ("BashOutput", Poll, "Bash", Run),
        ("TaskOutput", Poll, "TaskUpdate", Act),
        ("build_status", Poll, "status_update", Act),
        ("pods_list", Poll, "namespaces_list", Search),
        ("health_check", Poll, "set_health", Act),
        ("get_deployment_progress", Poll, "get_deployment_config", Read),
        ("get_job", Poll, "get_job_template", Read),
        ("describe_stacks", Poll, "get_stack_trace", Read),
        ("fetch_build", Poll, "build_project", Other),
        ("list_jobs", Poll, "search_jobs", Search),
        ("builds_list", Poll, "task_list", Search),
        ("check_build", Poll, "check_types", Other),
        ("check_email", Poll, "check_spelling", Other),
        ("job_state", Poll, "get_state", Read),
        ("pod_events", Poll, "list_events", Search),
        ("check_run", Poll, "run_checks", Run),
        ("deploy_status", Poll, "set_status", Act),
        ("container_inspect", Read, "inspect_element", Read),
        ("sleep", Wait, "poll_job", Poll),
        ("browser_click", Act, "browser_snapshot", Read),
        ("browser_type", Act, "browser_press_key", Navigate),
        ("browser_file_upload", Act, "browser_navigate_back", Navigate),
        ("slack_post_message", Act, "slack_get_channel_history", Read),
        ("set_cell", Act, "get_cell", Read),
        ("submitForm", Act, "undo", Navigate),
        ("send_keys", Navigate, "send_email", Act),
        ("computer_use_key", Navigate, "list_keys", Search),
        ("mouse_scroll", Navigate, "mouse_click", Act),
        ("next_page", Navigate, "open_page", Read),
        ("Grep", Search, "Read", Read),
        ("WebSearch", Search, "WebFetch", Read),
        ("write_file", Write, "read_file", Read),
        ("TodoWrite", Plan, "NotebookEdit", Write),
        ("frobnicate", Other, "run_terminal_cmd", Run),
    ] {
        assert_eq!(of(tool, "{}"), purpose, "{tool}");
        assert_eq!(of(opposite, "{}"), its_purpose, "{opposite}");
    }
    assert_eq!(of("computer", r#"{"action":"scroll","coordinate":[1,2]}"#), Navigate);
    assert_eq!(of("computer", r#"{"action":"left_click"}"#), Act);
    let known = ToolCall::of_class("1", "status", Json::default(), Some(ToolClass::Write), &[]);
    assert_eq!(known.purpose, Write);
}

/// Each row: a tool of a public MCP server or agent, and a tool of the same server with
/// another purpose, each in the notation of its server.
#[test]
fn recognizes_tools_of_public_servers() {
    use Purpose::{
        Act, Ask, Delegate, Navigate, Other, Plan, Poll, Read, Run, Search, Wait, Write,
    };
    let mut wrong = Vec::new();
    for (tool, purpose, opposite, its_purpose) in [
        // GitHub, GitLab
        ("mcp__github__get_workflow_run", Poll, "mcp__github__run_workflow", Run),
        ("mcp__github__get_job_logs", Poll, "mcp__github__get_commit", Read),
        ("mcp__github__list_workflow_jobs", Poll, "mcp__github__list_commits", Search),
        ("get_pull_request_status", Poll, "get_pull_request_files", Read),
        ("merge_pull_request", Act, "create_pull_request", Write),
        ("push_files", Act, "search_repositories", Search),
        ("mcp__gitlab__get_pipeline", Poll, "mcp__gitlab__get_merge_request", Read),
        ("mcp__gitlab__list_pipeline_jobs", Poll, "mcp__gitlab__list_issues", Search),
        // Slack, Linear, Notion, Jira
        ("mcp__slack__slack_post_message", Act, "mcp__slack__slack_get_thread_replies", Read),
        ("slack_reply_to_thread", Act, "slack_list_channels", Search),
        ("slack_add_reaction", Act, "slack_get_user_profile", Read),
        ("mcp__linear__update_issue", Act, "mcp__linear__list_issues", Search),
        ("linear_createComment", Write, "linear_getIssue", Read),
        ("API-post-search", Read, "API-patch-block-children", Write),
        ("API-retrieve-a-page", Read, "API-update-a-block", Act),
        ("jira_transition_issue", Act, "jira_get_issue", Read),
        ("jira_add_worklog", Act, "jira_search", Search),
        ("addCommentToJiraIssue", Act, "getJiraIssue", Read),
        // Browsers, computers
        ("mcp__playwright__browser_click", Act, "mcp__playwright__browser_snapshot", Read),
        ("browser_press_key", Navigate, "browser_select_option", Act),
        ("browser_wait_for", Wait, "browser_hover", Act),
        ("browser_navigate_back", Navigate, "browser_navigate", Act),
        ("puppeteer_fill", Act, "puppeteer_evaluate", Run),
        ("scroll_down", Navigate, "click_element_by_index", Act),
        ("computer_use.key", Navigate, "computer_use.left_click", Act),
        ("keyboard_type", Act, "mouse_scroll", Navigate),
        ("next_page", Navigate, "submit_form", Act),
        ("page_down", Navigate, "open_page", Read),
        ("volumeUp", Navigate, "setVolume", Act),
        // Kubernetes, AWS, Docker, Terraform
        ("pods_list_in_namespace", Poll, "resources_create_or_update", Write),
        ("kubectl_get_rollout", Poll, "kubectl_apply", Write),
        ("pods_log", Poll, "helm_install", Other),
        ("ecs_describe_instances", Poll, "lambda_invoke", Act),
        ("describe_stacks", Poll, "describe_key_pairs", Read),
        ("list_containers", Poll, "list_images", Search),
        ("fetch_container_logs", Poll, "create_container", Write),
        ("get_run_details", Read, "get_run", Poll),
        ("create_run", Write, "list_runs", Poll),
        // Files, shells, terminals
        ("read_text_file", Read, "write_file", Write),
        ("directory_tree", Other, "move_file", Write),
        ("read_process_output", Poll, "start_process", Act),
        ("interact_with_process", Other, "list_processes", Poll),
        ("start_search", Read, "get_file_info", Read),
        ("capture-pane", Poll, "list-windows", Search),
        ("send-keys", Navigate, "create-session", Write),
        ("nvim_feedkeys", Navigate, "nvim_open_file", Read),
        ("mouse_wheel", Navigate, "mouse_press", Act),
        ("query_run_metrics", Poll, "query_entity", Search),
        ("get_deploy", Poll, "get_service", Read),
        ("terminal_send_input", Navigate, "get_terminal_output", Read),
        // Sentry, Postgres, Drive, Stripe, Vercel, memories
        ("find_releases", Search, "update_issue", Act),
        ("search_events", Search, "get_issue_details", Read),
        ("execute_sql", Run, "list_objects", Search),
        ("gdrive_search", Search, "gdrive_read_file", Read),
        ("create_refund", Write, "retrieve_balance", Read),
        ("cancel_subscription", Act, "list_invoices", Search),
        ("get_deployment", Poll, "deploy_to_vercel", Act),
        ("list_deployments", Poll, "list_teams", Search),
        ("search_nodes", Search, "add_observations", Act),
        // Agents
        ("TaskGet", Read, "TaskUpdate", Act),
        ("BashOutput", Poll, "KillShell", Run),
        ("exec_command", Run, "wait_agent", Wait),
        ("spawn_agent", Delegate, "runSubagent", Delegate),
        ("AskUserQuestion", Ask, "ask_followup_question", Ask),
        ("webfetch", Read, "todowrite", Plan),
        ("multiedit", Write, "read_many_files", Read),
        ("SearchReplace", Write, "codebase_search", Search),
    ] {
        for (tool, expected) in [(tool, purpose), (opposite, its_purpose)] {
            let found = of(tool, "{}");
            if found != expected {
                wrong.push((tool, found, expected));
            }
        }
    }
    assert_eq!(wrong, []);
}

/// Each row: a command, and a similar command with the opposite purpose.
#[test]
fn recognizes_the_purpose_by_the_command() {
    use Purpose::{Navigate, Poll, Read, Run, Search, Wait, Write};
    for (command, purpose, opposite, its_purpose) in [
        ("kubectl get pods -n shop", Poll, "kubectl apply -f a.yaml --wait", Run),
        ("kubectl -n shop get pods", Poll, "kubectl -n shop delete pod get", Run),
        ("kubectl rollout status deploy/shop", Poll, "kubectl rollout restart deploy/shop", Run),
        (
            "kubectl get pods | xargs -n1 kubectl logs",
            Poll,
            "kubectl get pods -o name | xargs kubectl delete",
            Run,
        ),
        ("kubectl get a -o yaml | head", Poll, "kubectl get a -o yaml | kubectl apply -f -", Run),
        ("ps aux | grep vite", Poll, "kill 12 && make", Run),
        ("gh run list --workflow deploy.yml", Poll, "gh workflow run deploy.yml", Run),
        ("gh pr checks 7", Poll, "gh pr merge 7 --delete-branch", Run),
        (
            "gh api repos/a/b/actions/runs/7",
            Poll,
            "gh api -X POST repos/a/b/actions/runs/7/rerun",
            Run,
        ),
        ("helm --kube-context a history shop", Poll, "helm upgrade shop . --history-max 5", Run),
        ("docker ps", Poll, "docker rm $(docker ps -aq)", Run),
        ("docker ps -q | xargs docker inspect", Poll, "docker ps -q | xargs docker stop", Run),
        ("docker compose -f dev.yml logs web", Poll, "docker compose up -d --wait", Run),
        ("docker container ls", Poll, "docker exec db ls", Search),
        ("docker exec -u root db sh -c 'ps aux'", Poll, "docker exec db rm -rf /tmp/status", Run),
        ("aws ecs describe-services", Poll, "aws s3 sync logs s3://a/status", Run),
        ("aws --region eu-west-1 ecs wait services-stable", Poll, "aws lambda invoke get", Run),
        ("gcloud builds list", Poll, "gcloud app deploy --wait", Run),
        ("az aks nodepool show -n a", Poll, "az vm start --name list", Run),
        ("terraform show", Poll, "terraform apply -show-sensitive", Run),
        ("systemctl --user is-active nginx", Poll, "systemctl restart status", Run),
        ("squeue -u me", Poll, "sbatch job.sh", Run),
        ("nvidia-smi", Poll, "python train.py --status", Run),
        ("sudo journalctl -u shop", Poll, "sudo apt-get install jq", Run),
        ("screen -ls", Poll, "screen -dm ls", Run),
        ("redis-cli -h db ping", Poll, "redis-cli set ping 1", Run),
        ("tail -n 20 build.log", Poll, "head -n 20 build.log", Read),
        ("curl -s http://localhost:3000/health", Poll, "curl -X POST example.com/health-a", Run),
        (
            "curl -s localhost:3000/api/orders",
            Poll,
            "curl -XPOST http://localhost:3000/api/orders",
            Run,
        ),
        ("curl -sX GET a.example/jobs/7", Poll, "curl -sd @job.json a.example/jobs", Run),
        (
            "curl -H 'A: b' https://a.example/status",
            Poll,
            "curl --data-raw x https://a.example/status",
            Run,
        ),
        ("curl -G -d id=7 a.example/status", Poll, "curl --json '{}' a.example/status", Run),
        ("curl -so /dev/null a.example/healthz", Poll, "curl -T a.txt a.example/healthz", Run),
        ("wget -qO- localhost:8080/ready", Poll, "wget --post-data=a localhost:8080/ready", Run),
        ("curl -s a.example/health | jq .ok", Poll, "curl -s a.example/status | bash", Run),
        ("ssh gpu 'tail -3 train.log'", Poll, "ssh gpu 'rm train.log'", Run),
        ("./job_status.sh 7", Poll, "./job.sh status.txt", Run),
        ("./tool status", Poll, "make status", Run),
        ("tmux send-keys -t 1 Down", Navigate, "tmux capture-pane -p", Poll),
        ("grep -rn 'foo; rm x' src", Search, "sed -i s/a/b/ src/a", Write),
        ("cd app && rg foo | head", Search, "cd app && make | head", Run),
        ("find . -name '*.java'", Search, "find . -name '*.class' -delete", Run),
        ("find . -exec grep foo {} +", Search, "find . -exec rm {} +", Run),
        ("bash -lc 'git grep foo'", Search, "bash -lc 'git push'", Run),
        ("git -C app log -3", Read, "git -C app commit -m status", Run),
        ("sed -n 1,9p a.txt", Read, "cat a.txt > b.txt", Write),
        ("psql -c 'select state from jobs'", Read, "psql -c 'delete from jobs'", Run),
        ("FOO=1 timeout 30 /usr/bin/pgrep node", Poll, "FOO=1 timeout 30 node a.js", Run),
        ("helm status shop\nkubectl get pods", Poll, "helm status shop\nmake", Run),
        ("nc -z localhost 5432; echo $?", Poll, "nc -l 5432", Run),
        ("flyctl machines list -a shop", Poll, "flyctl deploy -a shop", Run),
        ("eas build:view 12", Poll, "eas build --local", Run),
        ("az acr task list-runs -r shop", Poll, "az acr build -r shop .", Run),
        ("supabase status", Poll, "git status", Read),
        ("nomad job status shop", Poll, "nomad job run shop.hcl", Run),
        ("heroku logs -a shop", Poll, "npm logs", Run),
        ("Down", Navigate, "down", Run),
        ("Enter", Navigate, "Enter-Shop --now", Run),
        ("xdotool key Down", Navigate, "xdotool click 1", Run),
        ("adb shell input swipe 5 9 5 1", Navigate, "adb install a.apk", Run),
        ("modal app list", Poll, "pnpm list", Run),
        ("sky queue shop", Poll, "sky launch shop.yaml", Run),
        ("pulumi stack --show-urns", Poll, "pulumi up --yes", Run),
        ("dig +short a.example", Poll, "wget https://a.example/a.tgz", Run),
        ("n=$(gh run view 7 -q .status); echo $n", Poll, "n=$(gh run rerun 7); echo $n", Run),
        ("echo \"pods: $(kubectl get pods)\"", Poll, "git commit -m 'see `kubectl get pods`'", Run),
        ("cd app && sleep 5s; echo waited", Wait, "sleepy 30", Run),
    ] {
        assert_of_command(command, purpose);
        assert_of_command(opposite, its_purpose);
    }
    let list = of("shell", r#"{"command": ["bash", "-lc", "sleep 20 && gh run list"]}"#);
    assert_eq!(list, Poll);
    assert_eq!(of("shell", r#"{"command": ["git", "push"]}"#), Run);
    let escaped = of("Bash", r#"{"command": "sleep 9 \u0026\u0026 kubectl get pods"}"#);
    assert_eq!(escaped, Poll);
}

/// Each row: a command that writes files only, and a similar command that does not.
#[test]
fn a_command_that_only_writes_files_is_a_change() {
    use Purpose::{Read, Run};
    for (write, other, its_purpose) in [
        ("cat > a.py <<'E'\nprint(1)\nE", "cat > a.py <<'E'\nprint(1)\nE\npython a.py", Run),
        ("echo a >> b; sed -i.bak s/a/b/ c; cat b", "echo a >> /dev/null; cat b", Read),
        ("git apply a.patch && git diff", "git am a.patch", Run),
        ("patch -p1 < a.patch", "sed s/a/b/ c", Read),
        ("apply_patch <<'E'\n*** Begin Patch\nE", "apply_plan <<'E'\n*** Begin Patch\nE", Run),
    ] {
        assert_of_command(write, Purpose::Write);
        assert_of_command(other, its_purpose);
    }
}

/// Each row: a command that polls after a sleep, and a command that does something.
#[test]
fn a_sleep_makes_a_poll_only_of_commands_that_look() {
    for (poll, other) in [
        ("sleep 30 && gh run view 12", "sleep 30 && gh run rerun 12"),
        ("sleep 45; tail -5 build.log", "sleep 5; make"),
        ("sleep 30; cat out/state", "cat > run.sh <<EOF\nsleep 5\ncat out/state\nEOF\nsh run.sh"),
        ("sleep 30 && ./check.sh", "sleep 1; npm test"),
        ("sleep 60; make status", "sleep 60; make deploy"),
        ("sleep 20; ls out | wc -l", "sleep 20; touch out/a"),
        ("sleep 10; curl -s a.example/page", "sleep 10; curl -d x a.example/page"),
        ("sleep 10; git fetch && git status", "sleep 10; git pull && make"),
        ("sleep 9; sqlite3 a.db 'SELECT n FROM job'", "sleep 9; sqlite3 a.db 'DELETE FROM job'"),
        ("until curl -s a.example; do sleep 1; done", "for i in 1 2; do ./send.sh; sleep 1; done"),
        ("while ! nc -z db 5432; do sleep 1; done", "while true; do ./feed.sh; sleep 1; done"),
        ("until ./ready; do sleep $((2 * n)); done", "./ready; python - <<'E'\nsleep 1\nE"),
        ("sleep 30; grep -c done a.log # make", "sleep 30; grep -c done a.log\nmake"),
        ("(sleep 30; kubectl get pods)", "echo 'sleep 30; kubectl get pods' | sh"),
        ("sleep 30 && python poll_state.py", "sleep 30 && python app.py 'check the state'"),
        ("sleep 5; ssh gpu 'wc -l out.jsonl'", "sleep 5; ssh gpu 'python train.py'"),
    ] {
        assert_of_command(poll, Purpose::Poll);
        assert_of_command(other, Purpose::Run);
    }
    assert_of_command("sleep 30", Purpose::Wait);
    assert_of_command(
        "git commit -m \"$(cat <<'EOF'\ndon't (sleep 5\nEOF\n)\" && sleep 5",
        Purpose::Run,
    );
    // A short sleep is a pause between two steps.
    assert_of_command("sleep 5; cat src/main.rs", Purpose::Poll);
    assert_of_command("sleep 1; cat src/main.rs", Purpose::Read);
    assert_of_command("sleep 1", Purpose::Wait);
}

#[test]
fn a_stated_intent_is_ignored_only_where_it_is_no_content() {
    let of = |tool: &str, description: &str| {
        let arguments = serde_json::json!({ "id": 7, "command": "a", "description": description });
        ToolCall::new("1", tool, Json::from(&arguments)).fingerprint
    };
    for tool in ["Bash", "Read", "Grep", "job_status", "sleep", "press_key"] {
        assert_eq!(of(tool, "first"), of(tool, "second"), "{tool}");
    }
    for tool in ["update_issue", "Edit", "create_issue", "Task", "frobnicate", "AskUserQuestion"] {
        assert_ne!(of(tool, "first"), of(tool, "second"), "{tool}");
    }
}

proptest! {
    #[test]
    fn accepts_any_name_and_command(name in any::<String>(), command in r#"[a-z;&|\\"'` é$()<>#\n\[\]]{0,64}"#) {
        let arguments = Json::from(&serde_json::json!({ "action": &name, "command": &command }));
        for tool in [&*name, "Bash"] {
            ToolCall::new("1", tool, arguments.clone());
        }
        Purpose::of_command(&command);
    }
}

#[test]
fn splits_a_script_into_commands() {
    let commands = |script: &'static str| {
        let mut commands = Vec::new();
        for_each_command(script, &mut |command| commands.push(command.text));
        commands
    };
    for (script, expected) in [
        ("a b; c && d || e & f\ng", &["a b", "c", "d", "e", "f", "g"][..]),
        ("a 'b; c' \"d | e\" f\\;g", &["a 'b; c' \"d | e\" f\\;g"]),
        ("a | b 2>&1 | c &> d", &["a", "b 2>&1", "c &> d"]),
        ("a $(b; c) d", &["b", "c", "a $(b; c) d"]),
        ("a \"x $(b) y\" `c`", &["b", "c", "a \"x $(b) y\" `c`"]),
        ("(a; b) && c", &["a", "b", "c"]),
        ("a # b; c\nd", &["a", "d"]),
        ("a <<E\nb; c\nE\nd", &["a <<E", "d"]),
        ("a <<-'E' > f\n\tb\n\tE\nc <<< d; e", &["a <<-'E' > f", "c <<< d", "e"]),
        ("a $((1 + 2)); b", &["a $((1 + 2))", "b"]),
        ("a <<E", &["a <<E"]),
        ("a 'b", &["a 'b"]),
    ] {
        assert_eq!(commands(script), expected, "{script}");
    }
}
