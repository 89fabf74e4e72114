use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
};

use pyo3::{
    Bound, PyAny, PyErr, PyResult, Python, pyclass, pyfunction, pymethods,
    types::{PyAnyMethods as _, PyMapping, PyMappingMethods as _},
};
use watchkeeper::Monitor;

use crate::{
    counts::Counts,
    deliveries::{Deliveries, log_exception},
    finding::Finding,
    interruptible, logging,
    open_findings::{self, OpenFindings},
    policy_error::{policy_error, start_error},
    recorder::Facts,
    run::Run,
    session::Session,
    text::{self, Text},
    time,
};

/// The monitor without the parts that belong to the interpreter; see `watchkeeper.Monitor`.
#[pyclass(frozen, module = "watchkeeper._watchkeeper")]
#[derive(Debug)]
pub(crate) struct MonitorCore {
    policy: Option<PathBuf>,
    policy_text: Option<String>,
    queue_capacity: Option<usize>,
    run: Arc<Run>,
    open_findings: Arc<OpenFindings>,
}

#[pymethods]
impl MonitorCore {
    #[new]
    #[pyo3(signature = (policy=None, *, policy_text=None, queue_capacity=None))]
    fn new(
        policy: Option<PathBuf>,
        policy_text: Option<String>,
        queue_capacity: Option<usize>,
    ) -> Self {
        Self {
            policy,
            policy_text,
            queue_capacity,
            run: Arc::default(),
            open_findings: Arc::default(),
        }
    }

    /// Starts the monitor. Returns its findings, if `takes_findings`, or `None` if it is
    /// running already.
    ///
    /// In the hook of a fork, threads that no longer exist can have locked `logging`, so the
    /// start must not log.
    fn start(
        &self,
        py: Python<'_>,
        takes_findings: bool,
        is_after_fork: bool,
    ) -> PyResult<Option<Deliveries>> {
        if self.is_running(py) {
            return Ok(None);
        }
        let _silence = if is_after_fork {
            Some(logging::Silence::new())
        } else {
            logging::install(py);
            None
        };
        let mut builder = Monitor::builder();
        if let Some(path) = &self.policy {
            builder = builder.policy_file(path).map_err(|err| policy_error(py, err))?;
        }
        if let Some(text) = &self.policy_text {
            builder = builder.policy_text(text);
        }
        if let Some(n_events) = self.queue_capacity {
            builder = builder.queue_capacity(n_events);
        }
        let mut queue = None;
        if takes_findings {
            let deliveries;
            (builder, deliveries) = builder.deliveries("on_finding");
            queue = Some(deliveries);
        }
        let open_findings = self.open_findings.clone();
        builder = builder.on_finding_immediately(move |finding| open_findings.update(finding));
        let running = py.detach(|| builder.start()).map_err(|err| start_error(py, err))?;
        let previous = self.run.set(running);
        // A thread of the previous run can be in a callback.
        py.detach(|| drop(previous));
        Ok(Some(Deliveries::new(queue, self.run.callback_errors().clone())))
    }

    /// Stops the monitor. Returns whether everything was delivered in time.
    fn stop(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(running) = self.run.running() else { return Ok(true) };
        if running.is_own_thread() {
            return Ok(!py.detach(|| running.stop()).timed_out);
        }
        interruptible::wait(py, move || !running.stop().timed_out)
    }

    /// Whether the thread of the monitor is running.
    #[getter]
    fn is_running(&self, py: Python<'_>) -> bool {
        let running = self.run.running();
        py.detach(|| running.is_some_and(|running| running.is_running()))
    }

    /// Whether the monitor was started, in this process or in the one that it was forked from.
    #[getter]
    fn has_started(&self) -> bool {
        self.run.running().is_some() || self.run.is_forked()
    }

    /// Lets the monitor handle the recorded events now instead of within milliseconds, for
    /// `open_findings`.
    fn handle_soon(&self) {
        if let Some(running) = self.run.running() {
            running.handle_soon();
        }
    }

    /// Waits until every event is handled and its findings are delivered. Returns whether
    /// this is so.
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = time::timeout(timeout)?;
        let Some(running) = self.run.running() else { return Ok(false) };
        if running.is_own_thread() {
            return Ok(false);
        }
        interruptible::wait_for(py, timeout, move |timeout| running.flush(timeout))
    }

    /// Collects the open findings of a session for `open_findings`, until `forget`.
    fn watch(&self, session: &str) {
        self.open_findings.watch(session.into());
    }

    /// Returns the open findings of a watched session.
    ///
    /// With a `timeout` in seconds, waits until the findings include those of all recorded
    /// events. Does not wait for sinks and callbacks.
    #[pyo3(signature = (session, timeout=None))]
    fn open_findings(
        &self,
        py: Python<'_>,
        session: &str,
        timeout: Option<f64>,
    ) -> PyResult<Vec<Finding>> {
        let timeout = timeout.map(time::timeout).transpose()?;
        // Mostly the monitor is done, and the agent's thread need not wake it.
        if let (Some(timeout), Some(running)) = (timeout, self.run.running())
            && !running.has_handled_all()
        {
            interruptible::wait_for(py, timeout, move |timeout| running.wait_handled(timeout))?;
        }
        Ok(self.open_findings.of(session).into_iter().map(Finding::from).collect())
    }

    /// Waits until the recorded events are handled. Does not wait for sinks and callbacks.
    /// Returns whether this is so.
    fn wait_handled(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let timeout = time::timeout(timeout)?;
        let Some(running) = self.run.running() else { return Ok(true) };
        Ok(py.detach(|| running.wait_handled(timeout)))
    }

    /// Stops collecting the open findings of a session.
    fn forget(&self, session: &str) {
        self.open_findings.forget(session);
    }

    /// Reports an intervention in a session to the sinks, as a finding about the monitor.
    #[pyo3(signature = (session, agent, message))]
    fn report(&self, py: Python<'_>, session: &str, agent: Option<&str>, message: &str) {
        let Some(running) = self.run.running() else { return };
        let finding = open_findings::intervention(session, agent, message);
        py.detach(|| running.feed().report(finding));
    }

    /// Returns the counts of the present run.
    fn counts(&self, py: Python<'_>) -> Counts {
        let running = self.run.running();
        let counts = py.detach(|| running.map(|running| running.counts()));
        let n_errors = self.run.callback_errors().load(Ordering::Relaxed);
        Counts::new(counts.unwrap_or_default(), self.run.n_not_recorded(), n_errors)
    }

    /// Records the start of a session, and returns its handle. Events are dropped and
    /// counted while there is no monitor.
    #[pyo3(signature = (
        id, *, agent=None, cwd=None, model=None, version=None, parent=None, labels=None,
        started_at=None,
    ))]
    fn session(
        &self,
        py: Python<'_>,
        id: Text<'_>,
        agent: Option<Text<'_>>,
        cwd: Option<PathBuf>,
        model: Option<Text<'_>>,
        version: Option<Text<'_>>,
        parent: Option<Text<'_>>,
        labels: Option<&Bound<'_, PyMapping>>,
        started_at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Session> {
        let mut facts = Facts::default();
        facts.start.cwd = cwd.map(|cwd| cwd.to_string_lossy().into());
        facts.start.model = model.map(Into::into);
        facts.start.version = version.map(Into::into);
        facts.start.parent = parent.map(|parent| Arc::<str>::from(parent).into());
        if let Some(labels) = labels {
            for label in labels.items()? {
                let (name, value) = label.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
                let label = (text::of_object(&name)?.into(), text::of_object(&value)?.into());
                facts.start.labels.push(label);
            }
        }
        facts.started_at = started_at.map(time::timestamp).transpose()?;
        let (id, agent) = (Arc::<str>::from(id), agent.map(Arc::<str>::from));
        Ok(Session::start(py, self.run.clone(), id.into(), agent.map(Into::into), facts))
    }

    /// Forgets the threads of the monitor, which a forked process does not have. Returns
    /// whether the monitor was running at the fork.
    fn abandon(&self) -> bool {
        let was_running = self.run.running().is_some();
        self.run.abandon();
        was_running
    }

    /// Logs and counts an exception of a callback.
    fn callback_failed(&self, py: Python<'_>, exception: Bound<'_, PyAny>) -> PyResult<()> {
        self.run.callback_errors().fetch_add(1, Ordering::Relaxed);
        log_exception(py, &PyErr::from_value(exception))
    }
}

/// Stops several monitors at the same time.
#[pyfunction]
pub(crate) fn stop_all(py: Python<'_>, monitors: Vec<Bound<'_, MonitorCore>>) -> PyResult<()> {
    let running = monitors.iter().filter_map(|monitor| monitor.get().run.running());
    let running: Vec<_> = running.collect();
    interruptible::wait(py, move || {
        thread::scope(|scope| {
            for running in &running {
                // Dropping the monitor stops it if the system provides no thread.
                let _ = thread::Builder::new().spawn_scoped(scope, || running.stop());
            }
        });
    })
}
