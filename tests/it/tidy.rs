//! Rules of the workspace: dependencies, names, links, minimum Rust version.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// Crates and the crates of this workspace that they may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("watchkeeper-core", &[]),
    ("watchkeeper-policy", &["watchkeeper-core"]),
    ("watchkeeper-sources", &["watchkeeper-core"]),
    ("watchkeeper-delivery", &["watchkeeper-core"]),
    ("watchkeeper-page", &["watchkeeper-core"]),
    ("watchkeeper-http", &["watchkeeper-core", "watchkeeper-page", "watchkeeper-sources"]),
    ("watchkeeper-sinks", &["watchkeeper-core"]),
    ("watchkeeper-testing", &["watchkeeper-core"]),
    (
        "watchkeeper-cli",
        &[
            "watchkeeper-core",
            "watchkeeper-delivery",
            "watchkeeper-http",
            "watchkeeper-page",
            "watchkeeper-policy",
            "watchkeeper-sinks",
            "watchkeeper-sources",
            "watchkeeper-testing",
        ],
    ),
];

#[test]
fn dependencies_point_one_way() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let allowed = match ALLOWED.iter().find(|(package, _)| *package == name) {
            Some((_, allowed)) => *allowed,
            None if name.starts_with("watchkeeper-detector-") => &["watchkeeper-core"],
            None => continue, // Programs and tests may use everything.
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency_name = dependency["name"].as_str().unwrap();
            let is_ours =
                dependency_name == "watchkeeper" || dependency_name.starts_with("watchkeeper-");
            let is_normal = dependency["kind"].is_null();
            assert!(
                !is_ours || !is_normal || allowed.contains(&dependency_name),
                "{name} depends on {dependency_name}"
            );
        }
    }
}

#[test]
fn program_links_no_test_dependencies() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package=watchkeeper", "--edges=normal", "--prefix=none"])
        .current_dir(root())
        .output()
        .expect("cargo should start");
    let tree = String::from_utf8(output.stdout).expect("cargo should write UTF-8");
    assert!(tree.contains("watchkeeper-testing "), "{tree}");
    for name in ["insta ", "proptest "] {
        assert!(!tree.lines().any(|it| it.starts_with(name)), "{tree}");
    }
}

#[test]
fn crates_have_a_description() {
    for package in packages() {
        let description = package["description"].as_str().unwrap_or_default();
        assert!(description.ends_with('.'), "{}: {description:?}", package["name"]);
    }
}

#[test]
fn files_and_folders_have_specific_names() {
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let is_vague = ["utils", "util", "common", "helpers", "types", "manager", "misc"]
                .contains(&&*stem);
            assert!(!is_vague, "{}", path.display());
            if path.is_dir() && stem != "target" && !stem.starts_with('.') {
                folders.push(path);
            }
        }
    }
}

#[test]
fn links_in_documents_have_targets() {
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/comparison.md",
        "docs/detector-contract.md",
        "docs/page.md",
        "docs/policy-tests.md",
        "docs/service.md",
        "docs/telemetry.md",
        "docs/tuning.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ] {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = &text[at + 2..];
            let target = &target[..target.find(')').unwrap()];
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            assert!(file.exists(), "{name}: {target}");
            let has_heading = || {
                let text = fs::read_to_string(&file).unwrap();
                text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            assert!(heading.is_empty() || has_heading(), "{name}: {target}");
        }
    }
}

/// The reference of policies lists the findings about the monitor, by the parts that report them.
#[test]
fn findings_about_the_monitor_are_listed() {
    let reference = root().join("crates/watchkeeper-policy/reference.md");
    let reference = fs::read_to_string(reference).unwrap();
    let mut folders = vec![root().join("crates")];
    let mut n_parts = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let is_of_tests = path.file_stem().is_some_and(|stem| stem == "tests");
            if path.is_dir() && !is_of_tests && !path.ends_with("watchkeeper-python") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_of_tests {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap_or_default();
                for call in text.split("Finding::about_monitor(").skip(1) {
                    let part = call.split(',').nth(1).unwrap_or_default().trim();
                    // Otherwise a variable, whose values are literals elsewhere.
                    let Some(part) = part.strip_prefix('"') else { continue };
                    let row = format!("| `watchkeeper-{} |", part.replace('"', "`"));
                    assert!(reference.contains(&row), "{row} of {}", path.display());
                    n_parts += 1;
                }
            }
        }
    }
    assert!(5 < n_parts);
}

/// No dependency needs a newer Rust version than the workspace.
#[test]
fn dependencies_support_the_minimum_rust_version() {
    // The packages of other platforms need not be on this machine.
    let metadata = metadata(&["--locked", "--filter-platform", &host()]);
    let version = |package: &Value| {
        let text = package["rust_version"].as_str()?;
        let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        parts.map(|mut parts| {
            parts.resize(3, 0);
            parts
        })
    };
    let packages = metadata["packages"].as_array().expect("there should be packages");
    let own = packages.iter().find(|package| package["name"] == "watchkeeper-core");
    let minimum = own.and_then(version).expect("the workspace should state its minimum version");
    for package in packages {
        assert!(
            version(package).is_none_or(|needed| needed <= minimum),
            "{} {} needs Rust {}",
            package["name"],
            package["version"],
            package["rust_version"]
        );
    }
}

/// Returns the anchor of a Markdown heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words.replace(' ', "-").chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package has a workspace")
}

/// Returns the target triple of this machine.
fn host() -> String {
    let output = Command::new(env!("CARGO")).arg("-vV").output().expect("cargo should start");
    let text = String::from_utf8(output.stdout).expect("cargo should write UTF-8");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("cargo should print its host").to_owned()
}

fn packages() -> Vec<Value> {
    let metadata = metadata(&["--no-deps"]);
    metadata["packages"].as_array().expect("there should be packages").clone()
}

fn metadata(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline"])
        .args(args)
        .current_dir(root())
        .output()
        .expect("cargo should start");
    serde_json::from_slice(&output.stdout).expect("cargo should write JSON")
}
