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
        ("get_deployment_progress", Poll, "get_deployment_settings", Read),
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

/// Each row: a tool of a public MCP server or agent, and a tool of the same server with
/// another purpose, each in the notation of its server.
#[test]
fn recognizes_tools_of_public_servers() {
    use Purpose::{Act, Ask, Delegate, Navigate, Other, Poll, Read, Run, Search, Wait, Write};
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
        ("search_events", Poll, "get_issue_details", Read),
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
        ("webfetch", Read, "todowrite", Other),
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
        ("nc -z localhost 5432; echo $?", Poll, "nc -l 5432", Run),
        ("flyctl machines list -a shop", Poll, "flyctl deploy -a shop", Run),
        ("eas build:view 12", Poll, "eas build --local", Run),
        ("az acr task list-runs -r shop", Poll, "az acr build -r shop .", Run),
        ("supabase status", Poll, "git status", Run),
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
        let lists = command
            .split(['\n', ';'])
            .flat_map(|line| line.split("&&"))
            .flat_map(|line| line.split("||"));
        lists.filter_map(|list| list.split('|').next()).map(str::to_owned).collect()
    };
    proptest!(|(command in r"[a |&;é\n\\]{0,24}")| {
        let commands: Vec<&str> = super::command::simple_commands(&command).collect();
        prop_assert_eq!(commands, naive(&command));
    });
}
