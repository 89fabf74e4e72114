//! A recorded session through the whole program.

use std::{
    ffi::OsStr,
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Plan, measure, session_file,
    table::{Figure, Row, grouped},
};

/// Makes this program the real one: what follows is its arguments.
pub(crate) const AS_PROGRAM: &str = "--as-watchkeeper";
/// How large the session is, in bytes.
const LEN: u64 = 200_000_000;
/// `wc` takes little of what a processor's time is counted in.
const N_WC: u8 = 4;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let path = session_file::path(LEN)?;
    let len = fs::metadata(&path)?.len();
    // What the tables say is of files that the system has in memory.
    let n_lines = fs::read(&path)?.split(|it| *it == b'\n').count() - 1;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut ratios = Vec::new();
    let mut n_findings = 0;
    for _ in 0..plan.rounds(5) {
        let before = measure::children_cpu()?;
        n_findings = check(&path)?;
        let between = measure::children_cpu()?;
        for _ in 0..N_WC {
            if let Err(err) = count_lines(&path) {
                return Ok(vec![Row::unmeasured("replay", err)]);
            }
        }
        let after = measure::children_cpu()?;
        let (our, their) = (between - before, (after - between) / f64::from(N_WC));
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }
    let ours = measure::median(ours);
    #[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
    let (megabytes, lines) = (len as f64 / 1e6, n_lines as f64);
    let beside = format!(
        "`wc -l` of the same file: {}; {} MB/s, {} lines, {:.0} B each, {n_findings} findings",
        Figure::Seconds(measure::median(theirs)),
        grouped(megabytes / ours),
        grouped(lines),
        megabytes * 1e6 / lines,
    );
    let row = Row::new("replay, `check` of 200 MB", Figure::Seconds(ours))
        .times(measure::median(ratios))
        .at_most_times(12.0)
        .beside(beside);
    Ok(vec![row])
}

/// Checks a file with the real program. Gives how much it found.
fn check(path: &Path) -> io::Result<usize> {
    let args = [AS_PROGRAM, "check", "--quiet", "--format", "ndjson"].map(OsStr::new);
    let output = Command::new(std::env::current_exe()?).args(args).arg(path).output()?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}

fn count_lines(path: &Path) -> io::Result<()> {
    let status = Command::new("wc").arg("-l").arg(path).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("`wc` fails")) }
}
