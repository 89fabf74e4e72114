use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use watchkeeper_core::{author::make_safe, embed::Registry};

use crate::{
    error::Error,
    global::Global,
    loading,
    output::{Output, Status, Style, safe_path},
    policy_tests::{
        Setup, TestOutcome, TestResult, TestResults, TestsError, run_scenarios, run_test_file,
    },
};

/// End of the names of test files.
const SUFFIX: &str = ".test.toml";

/// Run the tests of a policy in virtual time
///
/// Tests are written in TOML, or in Markdown with a policy, a trace and the expected
/// findings; see docs/policy-tests.md. Without a file, runs the test file beside
/// `--policy`, or all `*.test.toml` files in this folder.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Test files in TOML, or scenarios in Markdown (`.md`)
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Run only tests whose name contains this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Write the actual findings into the scenarios
    #[arg(long)]
    update: bool,
}

#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
}

impl Test {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let files = if self.files.is_empty() {
            default_files(global.policy.as_deref())?
        } else {
            self.files.clone()
        };
        if files.is_empty() {
            return Err(Error::NoTestFiles);
        }
        if self.update && !files.iter().any(|file| is_markdown(file)) {
            return Err(Error::NothingToUpdate);
        }
        let home = loading::home();
        let setup = Setup {
            registry,
            home: home.as_deref(),
            policy: global.policy.as_deref(),
            filter: self.filter.as_deref(),
            update: self.update,
            styled: output.styles.out,
        };
        let mut totals = Totals::default();
        let mut status = Status::Success;
        for file in &files {
            let file_status = match run_file(file, &setup) {
                Ok(results) => {
                    print_results(file, results, &setup, global.quiet, &mut totals, output)?
                }
                // The tests of the other files still run.
                Err(err) => {
                    let err = Error::Tests(err);
                    output.fail(&format!("{}\n", err.render()));
                    err.status()
                }
            };
            status = status.worse(file_status);
        }
        let Totals { passed, failed } = totals;
        if status == Status::Success && passed == 0 {
            return Err(Error::NoMatchingTest);
        }
        if passed + failed == 0 {
            return Ok(status);
        }
        let mut summary = format!("{passed} passed, {failed} failed");
        if 0 < failed {
            summary.push_str(" (- expected, + actual)");
        }
        let style = if status == Status::Success { Style::Green } else { Style::Red };
        writeln!(output.out, "{}", style.paint(&summary, output.styles.out))?;
        output.out.flush()?;
        Ok(status)
    }
}

fn run_file(file: &Path, setup: &Setup<'_>) -> Result<TestResults, TestsError> {
    if file.is_dir() {
        return Err(TestsError::Folder(file.to_owned()));
    }
    if !file.is_file() {
        return Err(TestsError::Missing(file.to_owned()));
    }
    if is_markdown(file) { run_scenarios(file, setup) } else { run_test_file(file, setup) }
}

fn print_results(
    file: &Path,
    TestResults { results, warnings }: TestResults,
    setup: &Setup<'_>,
    quiet: bool,
    totals: &mut Totals,
    output: &mut Output<'_>,
) -> io::Result<Status> {
    let file = safe_path(file);
    if !warnings.is_empty() && !quiet {
        writeln!(output.err, "{warnings}")?;
    }
    let mut status = Status::Success;
    for TestResult { name, outcome } in results {
        let (word, style, difference) = match outcome {
            TestOutcome::Passed => ("ok", Style::Green, None),
            TestOutcome::Updated => ("wrote", Style::Yellow, None),
            TestOutcome::Failed(difference) => ("FAIL", Style::Red, Some(difference)),
        };
        match &difference {
            None => totals.passed += 1,
            Some(_) => {
                totals.failed += 1;
                status = Status::Findings;
            }
        }
        if word != "ok" || !quiet {
            let word = style.paint(&format!("{word:<5}"), setup.styled);
            writeln!(output.out, "{word} {file}: {}", make_safe(&name))?;
        }
        if let Some(difference) = difference {
            write!(output.out, "\n{difference}\n")?;
        }
    }
    Ok(status)
}

fn is_markdown(file: &Path) -> bool {
    file.extension().is_some_and(|it| it.eq_ignore_ascii_case("md"))
}

/// Returns the test file beside a policy, or else all test files of this folder.
fn default_files(policy: Option<&Path>) -> io::Result<Vec<PathBuf>> {
    if let Some(policy) = policy {
        let mut file = policy.with_extension("").into_os_string();
        file.push(SUFFIX);
        return Ok(Some(PathBuf::from(file)).filter(|file| file.is_file()).into_iter().collect());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(".")? {
        let name = PathBuf::from(entry?.file_name());
        if name.to_string_lossy().ends_with(SUFFIX) {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}
