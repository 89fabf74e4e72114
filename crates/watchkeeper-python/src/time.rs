//! Times and durations of Python.

use std::time::Duration;

use pyo3::{Bound, PyAny, PyResult, exceptions::PyValueError, types::PyAnyMethods as _};
use watchkeeper::{SignedDuration, Timestamp};

/// Converts a `datetime` with a time zone, or seconds since the epoch, as `time.time()`
/// returns them.
pub(crate) fn timestamp(time: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let Ok(seconds) = time.extract::<f64>() else { return time.extract::<Timestamp>() };
    let invalid = || PyValueError::new_err(format!("not a time in seconds: {seconds}"));
    let since_epoch = SignedDuration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
    Timestamp::from_duration(since_epoch).map_err(|_| invalid())
}

/// Converts a timeout in seconds, which may be infinite.
pub(crate) fn timeout(seconds: f64) -> PyResult<Duration> {
    if seconds == f64::INFINITY {
        return Ok(Duration::MAX);
    }
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("not a timeout in seconds: {seconds}")))
}
