use std::sync::Arc;

use pyo3::{Bound, PyAny, PyResult, Python, exceptions::PyValueError, pyclass, pymethods};
use watchkeeper::{
    AgentId, Cause, EventKind, Json, SessionId, WaitingFor,
    core::{ModelCall, ToolCall as Call, author::Tokens},
};

use crate::{
    call_id::CallId,
    captured::Captured,
    outcome::{Outcome, parse_cause},
    recorder::{Facts, Recorder},
    run::Run,
    text::{self, Text},
    time,
    tool_call::ToolCall,
};

/// Records the events of one session, from any thread. No method waits.
///
/// `at` is the time of an event: a `float` of seconds since the epoch, or a `datetime` with a
/// time zone. By default, it is the present. Texts, outputs and arguments are any objects:
/// those other than `str` are converted.
#[pyclass(frozen, module = "watchkeeper")]
#[derive(Debug)]
pub(crate) struct Session(Arc<Recorder>);

impl Session {
    /// Records the start of a session.
    pub(crate) fn start(
        py: Python<'_>,
        run: Arc<Run>,
        id: SessionId,
        agent: Option<AgentId>,
        facts: Facts,
    ) -> Self {
        let recorder = Recorder::new(run, id, agent, Arc::new(facts));
        if recorder.agent.is_some() {
            recorder.record(py, None, EventKind::AgentStart { parent: None });
        }
        Self(Arc::new(recorder))
    }

    fn record(
        &self,
        py: Python<'_>,
        at: Option<&Bound<'_, PyAny>>,
        kind: EventKind,
    ) -> PyResult<()> {
        let at = at.map(time::timestamp).transpose()?;
        self.0.record(py, at, kind);
        Ok(())
    }
}

#[pymethods]
impl Session {
    /// The id of the session, a `str`.
    #[getter]
    fn id(&self) -> &str {
        self.0.session.as_str()
    }

    /// The id of the sub-agent, a `str`; `None` for the main agent.
    #[getter]
    fn agent_id(&self) -> Option<&str> {
        self.0.agent.as_ref().map(AgentId::as_str)
    }

    /// Records the start of a sub-agent, and returns the `Session` for its events. The `id` is
    /// a `str`.
    fn agent(&self, py: Python<'_>, id: Text<'_>) -> Self {
        let recorder = self.0.of_agent(Arc::<str>::from(id).into());
        let parent = self.0.agent.clone();
        recorder.record(py, None, EventKind::AgentStart { parent });
        Self(Arc::new(recorder))
    }

    /// Records a prompt. `text` is any object, `synthetic` a `bool`, and `at` a time; see `Session`.
    #[pyo3(signature = (text, *, synthetic=false, at=None))]
    fn prompt(
        &self,
        text: &Bound<'_, PyAny>,
        synthetic: bool,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = text.py();
        let text = text::of_event(text)?.into();
        self.record(py, at, EventKind::Prompt { text, synthetic })
    }

    /// Records a message of the agent. `text` is any object, `delta` a `bool`, and `at` a
    /// time; see `Session`.
    #[pyo3(signature = (text, *, delta=false, at=None))]
    fn message(
        &self,
        text: &Bound<'_, PyAny>,
        delta: bool,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = text.py();
        let text = text::of_event(text)?.into();
        self.record(py, at, EventKind::Message { text, delta })
    }

    /// Records reasoning of the model. `text` is any object or `None`, and `at` a time; see
    /// `Session`.
    #[pyo3(signature = (text=None, *, at=None))]
    fn thinking(
        &self,
        py: Python<'_>,
        text: Option<&Bound<'_, PyAny>>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let text = text.map(text::of_event).transpose()?.unwrap_or_default().into();
        self.record(py, at, EventKind::Thinking { text })
    }

    /// Records a tool call, and returns the `ToolCall` for its result.
    ///
    /// `name` is a `str`, `arguments` any object, `id` and `response` are a `str` or `None`,
    /// and `at` is a time; see `Session`.
    #[pyo3(signature = (name, arguments=None, id=None, *, response=None, at=None))]
    fn tool_call(
        &self,
        py: Python<'_>,
        name: Text<'_>,
        arguments: Option<&Bound<'_, PyAny>>,
        id: Option<Text<'_>>,
        response: Option<Text<'_>>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<ToolCall> {
        let id = id.map_or_else(|| self.0.run.next_call_id(), |id| CallId::Text(id.into()));
        let at = at.map(time::timestamp).transpose()?;
        let arguments = arguments.map(Captured::new).transpose()?;
        let (call_id, tool) = (id.clone(), Arc::<str>::from(name));
        let response = response.map(Into::into);
        self.0.record_deferred(py, at, move || {
            let arguments = arguments.map_or_else(empty_object, |it| it.to_json());
            let mut call = Call::new(call_id.to_string(), tool, arguments);
            call.response = response;
            EventKind::ToolCall(call)
        });
        Ok(ToolCall::new(self.0.clone(), id))
    }

    /// Records the result of a call by its id.
    ///
    /// `id` is a `str`, `output` any object, `ok` a `bool`, `exit_code` an `int` or `None`,
    /// `cause` one of `"declined"`, `"blocked"`, `"sibling"`, `"interrupted"` and `"timeout"`
    /// or `None`, and `at` a time; see `Session`.
    #[pyo3(signature = (id, output=None, *, ok=true, exit_code=None, cause=None, at=None))]
    fn tool_result(
        &self,
        py: Python<'_>,
        id: Text<'_>,
        output: Option<&Bound<'_, PyAny>>,
        ok: bool,
        exit_code: Option<i32>,
        cause: Option<&str>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let at = at.map(time::timestamp).transpose()?;
        let cause = cause.map(parse_cause).transpose()?;
        // An intercepted call has the result of an equal call.
        let may_succeed = matches!(cause, None | Some(Cause::Intercepted));
        let ok = ok && may_succeed && exit_code.is_none_or(|exit_code| exit_code == 0);
        let (id, output) = (CallId::Text(id.into()), output.map(text::of_event).transpose()?);
        let outcome = Outcome { ok, output, exit_code, cause };
        self.0.record_deferred(py, at, move || outcome.of_call(&id));
        Ok(())
    }

    /// Records a response of a model. Returns its id, a `str`.
    ///
    /// `model` and `id` are a `str` or `None`. The numbers of tokens are an `int`, and
    /// `cost_usd` is a `float`. `at` is a time; see `Session`.
    #[pyo3(signature = (
        model=None, *, id=None, input_tokens=0, output_tokens=0, reasoning_tokens=0,
        cache_read_tokens=0, cache_write_tokens=0, cost_usd=None, context_tokens=None, at=None,
    ))]
    fn model_call(
        &self,
        py: Python<'_>,
        model: Option<Text<'_>>,
        id: Option<Text<'_>>,
        input_tokens: u64,
        output_tokens: u64,
        reasoning_tokens: u64,
        cache_read_tokens: u64,
        cache_write_tokens: u64,
        cost_usd: Option<f64>,
        context_tokens: Option<u64>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let id = id.map_or_else(|| self.0.run.next_response_id(), |id| id.0.into_owned());
        let call = ModelCall {
            id: Some(id.as_str().into()),
            model: model.map(Into::into),
            tokens: Tokens {
                input: input_tokens,
                cache_read: cache_read_tokens,
                cache_write: cache_write_tokens,
                output: output_tokens,
                reasoning: reasoning_tokens,
                ..Tokens::default()
            },
            cost_usd: cost_usd.filter(|cost| cost.is_finite()),
            context_tokens,
            ..ModelCall::default()
        };
        self.record(py, at, EventKind::ModelCall(call))?;
        Ok(id)
    }

    /// Records that the agent hands its work to another agent. `to` is a `str`, and `at` a
    /// time; see `Session`.
    #[pyo3(signature = (to, *, at=None))]
    fn handoff(&self, py: Python<'_>, to: Text<'_>, at: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.record(py, at, EventKind::Handoff { to: to.into() })
    }

    /// Records that the agent waits for a person. `waiting_for` is `"person"` or
    /// `"permission"`, and `at` a time; see `Session`.
    #[pyo3(signature = (waiting_for="person", *, at=None))]
    fn waiting(
        &self,
        py: Python<'_>,
        waiting_for: &str,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.record(py, at, EventKind::Waiting(parse_waiting_for(waiting_for)?))
    }

    /// Records that the agent no longer waits for a person. `waited_for` is `"person"` or
    /// `"permission"`, and `at` a time; see `Session`.
    #[pyo3(signature = (waited_for="person", *, at=None))]
    fn resumed(
        &self,
        py: Python<'_>,
        waited_for: &str,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.record(py, at, EventKind::Resumed(parse_waiting_for(waited_for)?))
    }

    /// Records a compaction of the context. The numbers of tokens are an `int` or `None`, and
    /// `at` is a time; see `Session`.
    #[pyo3(signature = (before_tokens=None, after_tokens=None, *, at=None))]
    fn compaction(
        &self,
        py: Python<'_>,
        before_tokens: Option<u64>,
        after_tokens: Option<u64>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.record(py, at, EventKind::Compaction { before_tokens, after_tokens })
    }

    /// Records an error outside the tools. `message` is any object, `retry` an `int` or
    /// `None`, and `at` a time; see `Session`.
    #[pyo3(signature = (message, *, retry=None, at=None))]
    fn error(
        &self,
        message: &Bound<'_, PyAny>,
        retry: Option<u32>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = message.py();
        let message = text::of_event(message)?.into();
        self.record(py, at, EventKind::Error { message, retry })
    }

    /// Records the end of the turn. `at` is a time; see `Session`.
    #[pyo3(signature = (*, at=None))]
    fn turn_end(&self, py: Python<'_>, at: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.record(py, at, EventKind::TurnEnd)
    }

    /// Records the end of the session, or of the sub-agent. `reason` is a `str` or `None`, and
    /// `at` a time; see `Session`.
    #[pyo3(signature = (reason=None, *, at=None))]
    fn end(
        &self,
        py: Python<'_>,
        reason: Option<Text<'_>>,
        at: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let kind = match self.0.agent {
            Some(_) => EventKind::AgentEnd,
            None => EventKind::SessionEnd { reason: reason.map(Into::into) },
        };
        self.record(py, at, kind)
    }

    fn __repr__(&self) -> String {
        let Recorder { session, agent, .. } = &*self.0;
        match agent {
            Some(agent) => format!("Session({:?}, agent={:?})", session.as_str(), agent.as_str()),
            None => format!("Session({:?})", session.as_str()),
        }
    }
}

fn empty_object() -> Json {
    Json::parse_or_text("{}")
}

fn parse_waiting_for(name: &str) -> PyResult<WaitingFor> {
    match name {
        "permission" => Ok(WaitingFor::Permission),
        "person" => Ok(WaitingFor::Person),
        _ => {
            Err(PyValueError::new_err(format!("unknown reason {name:?}; use permission or person")))
        }
    }
}
