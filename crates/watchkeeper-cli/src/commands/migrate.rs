use std::path::PathBuf;

use clap::Args;
use watchkeeper_policy::{Migration, Renamed, migrate, read_file};

use crate::{
    error::Error,
    global::Global,
    loading,
    numbers::counted,
    output::{Output, Status, safe_path},
    replace_file::replace_file,
};

/// Replace names of earlier versions in policies and their tests
///
/// Renames detectors and options that an earlier version named differently. Comments and
/// formatting stay. A detector that the file itself defines keeps its name.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Policies and test files [default: the file of --policy, or the first policy at the
    /// usual places]
    files: Vec<PathBuf>,

    /// Write no file; exit with status 1 if one would change
    #[arg(long)]
    check: bool,

    /// Write no file; print the changed lines, and exit with status 1 if there are any
    #[arg(long)]
    diff: bool,
}

impl Migrate {
    pub(crate) fn run(self, global: &Global, output: &mut Output<'_>) -> Result<Status, Error> {
        let files = if self.files.is_empty() {
            let found = loading::find(global.policy.as_deref(), output);
            vec![found.path().ok_or(Error::NoPolicyFile)?.to_owned()]
        } else {
            self.files.clone()
        };
        let writes = !self.check && !self.diff;
        let (mut n_changed, mut has_conflict) = (0, false);
        for file in &files {
            let failed = |source| Error::Read { path: file.clone(), source };
            let text = read_file(file).map_err(failed)?;
            let migration = migrate(&text).ok_or_else(|| Error::NotToml { path: file.clone() })?;
            let Migration { text: migrated, renamed, conflicts, .. } = &migration;
            let name = safe_path(file);
            for conflict in conflicts {
                has_conflict = true;
                output.fail(&format!(
                    "warning: {name}: `{conflict}` and its present name both exist; combine them\n"
                ));
            }
            if renamed.is_empty() {
                continue;
            }
            n_changed += 1;
            if self.diff {
                write_diff(&name, [&text, migrated], renamed, output)?;
            } else if !global.quiet {
                for Renamed { line, from, to, .. } in renamed {
                    writeln!(output.err, "{name}:{line}: `{from}` is now `{to}`")?;
                }
            }
            if writes {
                let failed = |source| Error::Write { path: file.clone(), source };
                replace_file(file, migrated.as_bytes()).map_err(failed)?;
            }
        }
        if !global.quiet {
            let verb = if writes { "changed" } else { "would change" };
            let changed = counted(n_changed, "file");
            let unchanged = counted(files.len() as u64 - n_changed, "file");
            writeln!(output.err, "{changed} {verb}, {unchanged} unchanged")?;
        }
        output.out.flush()?;
        let is_outdated = !writes && 0 < n_changed;
        Ok(if is_outdated || has_conflict { Status::Findings } else { Status::Success })
    }
}

/// Writes the changed lines as a unified diff without context. A migration keeps the number of
/// lines.
fn write_diff(
    name: &str,
    [before, after]: [&str; 2],
    renamed: &[Renamed],
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let line = |text: &str, line: usize| {
        let text = text.lines().nth(line - 1).unwrap_or_default();
        watchkeeper_core::author::make_safe(text)
    };
    writeln!(output.out, "--- {name}\n+++ {name}")?;
    let mut lines: Vec<usize> = renamed.iter().map(|it| it.line).collect();
    lines.dedup();
    for number in lines {
        let (before, after) = (line(before, number), line(after, number));
        writeln!(output.out, "@@ -{number} +{number} @@\n-{before}\n+{after}")?;
    }
    Ok(())
}
