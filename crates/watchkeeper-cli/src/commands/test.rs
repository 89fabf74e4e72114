use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use watchkeeper_core::{Registry, make_safe};

use crate::{
    Global, Output, Status,
    output::{Style, quoted_path},
    trials::{NotRun, Outcome, Ran, Setup, run_scenarios, run_test_file},
};

/// How the files of a policy's tests end.
const SUFFIX: &str = ".test.toml";

/// Run the tests of a policy, in virtual time
///
/// Tests are in TOML, or in Markdown that shows a policy, a trace and the
/// findings; see docs/policy-tests.md. Without a file it runs those in files
/// called `*.test.toml` in this folder, or the one beside `--policy`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Tests in TOML, and scenarios in Markdown (`.md`)
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Run the tests whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,

    /// Write what is found into the scenarios
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
    ) -> io::Result<Status> {
        let files = if self.files.is_empty() {
            beside(global.policy.as_deref())?
        } else {
            self.files.clone()
        };
        if files.is_empty() {
            let message = "error: there are no tests here; name a file, or write \
                           `policy.test.toml` beside `policy.toml`\n";
            return Ok(output.fail(message));
        }
        if self.update && !files.iter().any(|it| is_markdown(it)) {
            let message = "error: --update writes what is found into scenarios (`.md`), and there \
                           is none among these files\n";
            return Ok(output.fail(message));
        }
        let setup = Setup {
            registry,
            policy: global.policy.as_deref(),
            filter: self.filter.as_deref(),
            update: self.update,
            styled: output.styles.out,
        };
        let mut totals = Totals::default();
        let mut status = Status::Success;
        for file in &files {
            let of_file = self.run_file(file, &setup, global, &mut totals, output)?;
            status = status.worse(of_file);
        }
        let Totals { passed, failed } = totals;
        if status == Status::Success && passed == 0 {
            return Ok(output.fail("error: no test has a name that contains that of --filter\n"));
        }
        if passed + failed == 0 {
            return Ok(status);
        }
        let mut summary = format!("{passed} passed, {failed} failed");
        if 0 < failed {
            summary.push_str(" (- is expected, + is found)");
        }
        let style = if status == Status::Success { Style::Green } else { Style::Red };
        writeln!(output.out, "{}", style.paint(&summary, output.styles.out))?;
        output.out.flush()?;
        Ok(status)
    }

    fn run_file(
        &self,
        file: &Path,
        setup: &Setup<'_>,
        global: &Global,
        totals: &mut Totals,
        output: &mut Output<'_>,
    ) -> io::Result<Status> {
        let shown = make_safe(&file.display().to_string());
        if !file.is_file() {
            let what = if file.is_dir() { "is a folder; name its files" } else { "does not exist" };
            return Ok(output.fail(&format!("error: {} {what}\n", quoted_path(file))));
        }
        let ran =
            if is_markdown(file) { run_scenarios(file, setup) } else { run_test_file(file, setup) };
        let Ran { trials, doubts } = match ran {
            Ok(it) => it,
            Err(NotRun::Wrong(text)) => {
                output.fail(&format!("{text}\n"));
                return Ok(Status::BadPolicy);
            }
            Err(NotRun::Unreadable(text)) => return Ok(output.fail(&format!("error: {text}\n"))),
        };
        if !doubts.is_empty() && !global.quiet {
            writeln!(output.err, "{doubts}")?;
        }
        let mut status = Status::Success;
        for trial in trials {
            let (word, style, difference) = match trial.outcome {
                Outcome::Passed => ("ok", Style::Green, None),
                Outcome::Updated => ("wrote", Style::Yellow, None),
                Outcome::Failed(it) => ("FAIL", Style::Red, Some(it)),
            };
            match &difference {
                None => totals.passed += 1,
                Some(_) => {
                    totals.failed += 1;
                    status = Status::Findings;
                }
            }
            if word != "ok" || !global.quiet {
                let word = style.paint(&format!("{word:<5}"), setup.styled);
                writeln!(output.out, "{word} {shown}: {}", make_safe(&trial.name))?;
            }
            if let Some(difference) = difference {
                write!(output.out, "\n{difference}\n")?;
            }
        }
        Ok(status)
    }
}

fn is_markdown(file: &Path) -> bool {
    file.extension().is_some_and(|it| it.eq_ignore_ascii_case("md"))
}

/// The tests that belong to a policy, or else those of this folder.
fn beside(policy: Option<&Path>) -> io::Result<Vec<PathBuf>> {
    if let Some(policy) = policy {
        let mut file = policy.with_extension("").into_os_string();
        file.push(SUFFIX);
        return Ok(Some(PathBuf::from(file)).filter(|it| it.is_file()).into_iter().collect());
    }
    let mut res = Vec::new();
    for entry in fs::read_dir(".")? {
        let name = PathBuf::from(entry?.file_name());
        if name.to_string_lossy().ends_with(SUFFIX) {
            res.push(name);
        }
    }
    res.sort();
    Ok(res)
}
