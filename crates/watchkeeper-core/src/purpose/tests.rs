use proptest::prelude::*;

use super::Purpose;
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
    use Purpose::{Act, Navigate, Other, Poll, Read, Run, Search, Wait, Write};
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
        ("get_deployment_progress", Poll, "get_deployment", Read),
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
        ("TodoWrite", Other, "NotebookEdit", Write),
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

/// Each row: a command, and a similar command with the opposite purpose.
#[test]
fn recognizes_the_purpose_by_the_command() {
    use Purpose::{Navigate, Poll, Run, Search, Wait};
    for (command, purpose, opposite, its_purpose) in [
        ("kubectl get pods -n shop", Poll, "kubectl apply -f a.yaml", Run),
        ("kubectl rollout status deploy/shop", Poll, "kubectl delete pod a", Run),
        ("ps aux | grep vite", Poll, "kill 12 && make", Run),
        ("sleep 30 && gh run view 12", Poll, "gh pr create --fill", Run),
        ("gh pr checks 7", Poll, "gh pr merge 7", Run),
        ("sleep 45; tail -5 build.log", Poll, "cat build.log", Run),
        ("tail -n 20 build.log", Poll, "head -n 20 build.log", Run),
        ("sleep 30", Wait, "sleepy 30", Run),
        ("cd app && sleep 5s; echo waited", Wait, "sleep 5; make", Poll),
        ("until curl -s localhost:3000; do sleep 1; done", Poll, "curl -s example.com/a", Run),
        ("curl -s http://localhost:3000/health", Poll, "curl -X POST example.com/health-a", Poll),
        ("docker ps", Poll, "docker build .", Run),
        ("docker compose logs web", Poll, "docker compose up -d", Run),
        ("aws cloudformation describe-stacks", Poll, "aws s3 cp a b", Run),
        ("aws ecs wait services-stable", Poll, "aws lambda invoke a", Run),
        ("gcloud builds list", Poll, "gcloud app deploy", Run),
        ("terraform show", Poll, "terraform apply", Run),
        ("systemctl is-active nginx", Poll, "systemctl restart nginx", Run),
        ("squeue -u me", Poll, "sbatch job.sh", Run),
        ("nvidia-smi", Poll, "python train.py", Run),
        ("sudo journalctl -u shop", Poll, "sudo apt-get install jq", Run),
        ("tmux send-keys -t 1 Down", Navigate, "tmux capture-pane -p", Poll),
        ("grep -rn foo src", Search, "sed -i s/a/b/ src/a", Run),
        ("cd app && rg foo | head", Search, "cd app && make | head", Run),
        ("find . -name '*.java'", Search, "javac A.java", Run),
        ("bash -lc 'git grep foo'", Search, "bash -lc 'git push'", Run),
        ("FOO=1 timeout 30 /usr/bin/pgrep node", Poll, "FOO=1 timeout 30 node a.js", Run),
        ("helm status shop\nkubectl get pods", Poll, "helm status shop\nmake", Run),
    ] {
        assert_of_command(command, purpose);
        assert_of_command(opposite, its_purpose);
    }
    let list = of("shell", r#"{"command": ["bash", "-lc", "sleep 20 && gh run list"]}"#);
    assert_eq!(list, Poll);
}

proptest! {
    #[test]
    fn accepts_any_name_and_command(name in any::<String>(), command in r#"[a-z;&|\\"' é\n\[\]]{0,64}"#) {
        let arguments = Json::from(&serde_json::json!({ "action": &name, "command": &command }));
        for tool in [&*name, "Bash"] {
            ToolCall::new("1", tool, arguments.clone());
        }
        Purpose::of_command(&command);
    }
}

#[test]
fn commands_are_split_like_a_chain_of_splits() {
    let naive = |command: &str| -> Vec<String> {
        let lines = command.split("\\n").flat_map(|line| line.split(['\n', ';']));
        let lists = lines.flat_map(|line| line.split("&&")).flat_map(|line| line.split("||"));
        lists.filter_map(|list| list.split('|').next()).map(str::to_owned).collect()
    };
    proptest!(|(command in r"([a |&;é\n]|\\n|\\){0,24}")| {
        let commands: Vec<&str> = super::command::simple_commands(&command).collect();
        prop_assert_eq!(commands, naive(&command));
    });
}
