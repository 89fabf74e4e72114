//! Clocks, memory, and statistics of many measurements.

use std::{fs, io, time::Duration};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::{TimeSpec, TimeValLike},
    },
    time::{ClockId, clock_gettime},
};

/// Returns the processor time of this thread, in nanoseconds. Excludes other threads and
/// programs.
pub(crate) fn thread_cpu() -> io::Result<f64> {
    Ok(nanos(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?))
}

/// Returns the time since an arbitrary start, in nanoseconds.
pub(crate) fn elapsed() -> io::Result<f64> {
    Ok(nanos(clock_gettime(ClockId::CLOCK_MONOTONIC)?))
}

/// Returns the user and system time of all finished child processes, in seconds.
pub(crate) fn children_cpu() -> io::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    Ok(each(nanos(TimeSpec::nanoseconds(cpu.num_nanoseconds())), 1_000_000_000))
}

#[expect(clippy::cast_precision_loss, reason = "exact for the first hundred days")]
fn nanos(time: TimeSpec) -> f64 {
    Duration::from(time).as_nanos() as f64
}

/// Returns the resident memory of this process in bytes, or `None` on a system without `/proc`.
pub(crate) fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Divides a total by a number of items.
#[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
pub(crate) fn each(whole: f64, n: usize) -> f64 {
    whole / n as f64
}

/// Returns the median.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// Returns the 10th percentile: of many short rounds, the cost of one that no other program
/// disturbed.
pub(crate) fn undisturbed(values: Vec<f64>) -> f64 {
    quantile(values, 0.1)
}

/// Returns the quantile `part`, from 0 to 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "an index into a list"
)]
pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}
