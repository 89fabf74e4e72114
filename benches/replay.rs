//! The whole program, checking one recorded session.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Plan, measure, session_file,
    table::{Figure, Row, grouped},
};

/// The argument that makes this program behave as `watchkeeper`. Its arguments follow.
pub(crate) const AS_PROGRAM: &str = "--as-watchkeeper";
/// The size of the session, in bytes.
const LEN: u64 = 200_000_000;
/// Runs of `wc` per round, as one run is short compared to the resolution of processor time.
const N_WC: u8 = 4;
/// The tolerance when two programs are compared.
const NOISE: f64 = 0.03;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let path = session_file::path(LEN, 0)?;
    let len = fs::metadata(&path)?.len();
    // Also brings the file into the page cache, so that no measurement reads from disk.
    let n_lines = fs::read(&path)?.split(|it| *it == b'\n').count() - 1;
    let this_program = std::env::current_exe()?;
    let (mut checks, mut wcs, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ratios, mut ratios_to_other) = (Vec::new(), Vec::new());
    let mut n_findings = 0;
    for _ in 0..plan.rounds(5) {
        let check_time = cpu_time(|| {
            n_findings = check(&this_program, &[AS_PROGRAM], &path)?;
            Ok(())
        })?;
        let wc_time = cpu_time(|| (0..N_WC).try_for_each(|_| count_lines(&path)));
        let wc_time = match wc_time {
            Ok(time) => time / f64::from(N_WC),
            Err(err) => return Ok(vec![Row::unmeasured("replay", err)]),
        };
        checks.push(check_time);
        wcs.push(wc_time);
        ratios.push(check_time / wc_time);
        if let Some(other) = &plan.against {
            let other_time = cpu_time(|| check(other, &[], &path).map(drop))?;
            others.push(other_time);
            ratios_to_other.push(check_time / other_time);
        }
    }
    let check_time = measure::median(checks);
    #[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
    let (megabytes, lines) = (len as f64 / 1e6, n_lines as f64);
    let remark = format!(
        "relative to `wc -l`: {}; {} MB/s, {} lines, {:.0} B each, {n_findings} findings",
        Figure::Seconds(measure::median(wcs)),
        grouped(megabytes / check_time),
        grouped(lines),
        megabytes * 1e6 / lines,
    );
    let mut rows = vec![
        Row::new("replay, `check` of 200 MB", Figure::Seconds(check_time))
            .times(measure::median(ratios))
            .at_most_times(12.0)
            .remark(remark),
    ];
    if let Some(other) = &plan.against {
        let remark = format!(
            "relative to {}: {}",
            other.display(),
            Figure::Seconds(measure::median(others)),
        );
        rows.push(
            Row::new("replay, against the other program", Figure::Seconds(check_time))
                .times(measure::median(ratios_to_other))
                .at_most_times(1.0 + NOISE)
                .remark(remark),
        );
    }
    Ok(rows)
}

/// Returns the processor time of the child processes that `run` starts and waits for, in seconds.
fn cpu_time(run: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let before = measure::children_cpu()?;
    run()?;
    Ok(measure::children_cpu()? - before)
}

/// Checks a file with a program. Returns the number of findings.
fn check(program: &Path, first_args: &[&str], path: &Path) -> io::Result<usize> {
    let output = Command::new(program)
        .args(first_args)
        .args(["check", "--format", "ndjson"])
        .arg(path)
        .output()?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}

fn count_lines(path: &Path) -> io::Result<()> {
    let status = Command::new("wc").arg("-l").arg(path).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("`wc` failed")) }
}
