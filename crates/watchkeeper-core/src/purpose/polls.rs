//! The subcommands that read a state which changes outside the session.

use super::shell::Words;

/// Returns the subcommands of a program that are polls; `None` if the program has no others.
///
/// The words of a pattern are compared with the words after the program, by position. A word
/// may have alternatives, `*` stands for any word, and `get-*` for any word with this start.
/// An empty pattern stands for every call of the program.
fn patterns(program: &str) -> Option<&'static [&'static str]> {
    Some(match program {
        // Processes, ports and queues of the machine.
        "bjobs" | "condor_q" | "dig" | "host" | "htop" | "iostat" | "journalctl" | "lsof"
        | "netstat" | "nslookup" | "nvidia-smi" | "ping" | "pg_isready" | "pgrep" | "pidof"
        | "ps" | "pstree" | "qstat" | "rocm-smi" | "sacct" | "sinfo" | "squeue" | "ss" | "tail"
        | "top" | "uptime" | "vmstat" | "w" | "wait" | "watch" | "jobs" => &[""],
        "nc" | "ncat" => &["-z|-zv|-vz"],
        "launchctl" => &["list|print"],
        "pm2" => &["describe|jlist|l|list|logs|ls|monit|show|status"],
        "scontrol" => &["show"],
        "screen" => &["-ls|-list"],
        "service" => &["* status"],
        "supervisorctl" => &["status|tail"],
        "systemctl" => &["is-*|list-*|show|status"],
        "tmux" => &["capture-pane|capturep|has-session|ls|list-*"],
        // Containers and clusters.
        "argocd" => &["app|cluster|repo diff|get|history|list|logs|resources|wait"],
        "docker" | "nerdctl" | "podman" => &[
            "events|inspect|logs|ps|stats|top|wait",
            "container inspect|list|logs|ls|stats|top|wait",
            "node|service|stack inspect|logs|ls|ps|services",
        ],
        "crictl" => &["logs|pods|ps"],
        "docker-compose" | "podman-compose" => &["events|logs|ls|ps|stats|top|wait"],
        "flux" => &["get|logs|stats", "events"],
        "helm" => &["get|history|list|ls|status"],
        "k3s" | "kubectl" | "oc" => {
            &["cluster-info|describe|events|get|logs|status|top|wait", "rollout history|status"]
        }
        "minikube" | "multipass" | "vagrant" => &["global-status|info|list|status"],
        "nomad" => &["status", "alloc|deployment|job|node logs|status"],
        // Hosted services.
        "aws" => &["* batch-get-*|describe-*|get-*|list-*|wait", "logs tail", "s3 ls"],
        "az" => &["* list|show|wait", "* * list|list-*|show|wait", "* * * list|show|wait"],
        "bq" => &["ls|show|wait"],
        "doctl" => &["* get|list", "* * get|list"],
        "databricks" => &["jobs|runs|clusters get|get-run|list|list-runs"],
        "eas" => &["build:list|build:view|submit:list"],
        "fly" | "flyctl" => &["logs|releases|status", "checks|machine|machines list|status"],
        "gcloud" => &[
            "* describe|list|log|read|wait",
            "* * describe|list|log|read|wait",
            "* * * describe|list|log|read|wait",
        ],
        "heroku" => &["logs|ps|releases|status"],
        "modal" => &["app|container list|logs"],
        "netlify" => &["status|watch"],
        "pulumi" => &["stack"],
        "railway" => &["logs|status"],
        "ray" => &["status", "job list|logs|status"],
        "sky" => &["logs|queue|status"],
        "vercel" => &["inspect|list|logs|ls"],
        // Pipelines and reviews.
        "airflow" => &["* list|list-runs|state"],
        "argo" => &["get|list|logs|wait|watch"],
        "circleci" => &["* get|list|status"],
        "gh" => &[
            "pr checks|list|status|view",
            "run list|view|watch",
            "release|workflow list|view",
            "status",
        ],
        "glab" => &["ci|pipeline get|list|status|trace|view", "mr list|view"],
        "tkn" => &["* describe|list|logs"],
        // Servers and workers.
        "adb" => &["devices|get-state|logcat|wait-for-*"],
        "celery" => &["inspect|status"],
        "rabbitmqctl" => &["list_*|status"],
        "redis-cli" => &["info|INFO|llen|LLEN|ping|PING"],
        "temporal" => &["workflow describe|list|show"],
        "terraform" | "tofu" => &["output|show", "state list|show"],
        "xcrun" => &["simctl list", "notarytool info|log|history|wait"],
        "workmux" => &["capture|list|status"],
        _ => return None,
    })
}

/// Returns true if the purpose of a program depends on its subcommand.
pub(super) fn has_subcommands(program: &str) -> bool {
    patterns(program).is_some_and(|patterns| patterns != [""])
}

/// Returns true if a command is a poll; `None` if the program is not in the table. `words` are
/// the words after the program.
pub(super) fn is_poll(program: &str, words: Words<'_>) -> Option<bool> {
    let patterns = patterns(program)?;
    Some(patterns.iter().any(|pattern| has_pattern(pattern, words)))
}

/// Returns true if the words after a program match a pattern.
pub(super) fn has_pattern(pattern: &str, words: Words<'_>) -> bool {
    starts(words).any(|words| matches(pattern, words))
}

/// Returns the words from each word that may be the subcommand: the first word, or a word
/// after options. An option may take the next word as its value.
pub(super) fn starts(words: Words<'_>) -> impl Iterator<Item = Words<'_>> {
    let mut next = Some(words);
    let mut is_value = false;
    std::iter::from_fn(move || {
        let start = next?;
        let mut words = start;
        next = None;
        match words.next() {
            Some(option) if option.starts_with('-') => {
                is_value = !option.contains('=');
                next = Some(words);
            }
            Some(_) if std::mem::take(&mut is_value) => next = Some(words),
            _ => {}
        }
        Some(start)
    })
}

fn matches(pattern: &str, mut words: Words<'_>) -> bool {
    pattern.split_ascii_whitespace().all(|alternatives| {
        words.next().is_some_and(|word| {
            alternatives.split('|').any(|expected| match expected.strip_suffix('*') {
                Some("") => !word.starts_with('-'),
                Some(start) => word.starts_with(start),
                None => word == expected,
            })
        })
    })
}
