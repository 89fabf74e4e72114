use std::{
    env, fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::tz::TimeZone;
use watchkeeper_core::{
    DetectorKind, Engine, Finding, SignedDuration, Sink, SinkKind, SourceKind,
    author::make_safe,
    clock::{Clock, SystemClock},
    embed::{
        Deliveries, Delivery, MonitorConfig, Queue, Registry, RegistryBuilder, Router, Running,
    },
};
use watchkeeper_policy::{
    BUILTIN_DEFAULT, Loader, Policy, ResolvedFile, Variables, builtin, read_file, resolve_file,
};

use crate::{PolicyError, StartError};

/// The number of findings that may wait for a sink of the program.
const SINK_CAPACITY: usize = 1024;
/// The time for events that a program records after the end of their session.
const ENDED_SESSION_EXPIRY: SignedDuration = SignedDuration::from_secs(60);
/// The location that diagnostics show for a policy without a file.
const UNNAMED_POLICY: &str = "<policy>";

/// A function that the thread of the monitor calls for each finding.
type ImmediateCallback = Box<dyn FnMut(&Finding) + Send>;

/// A monitor for the agents of this process.
///
/// `watchkeeper_core::Monitor` is the low-level monitor, which takes an engine
/// in place of a policy.
#[derive(Debug)]
pub struct Monitor {
    // The type only names the builder.
    _private: (),
}

impl Monitor {
    /// Returns a builder for a monitor.
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder::default()
    }
}

/// Configures and starts a monitor. The order of the calls does not matter.
#[derive(Default)]
#[must_use = "the monitor starts when `start` is called"]
pub struct MonitorBuilder {
    registry: RegistryBuilder,
    policy: Option<PolicyText>,
    observers: Vec<Observer>,
    n_callbacks: usize,
    immediate: Option<ImmediateCallback>,
    clock: Option<Arc<dyn Clock>>,
    queue_capacity: Option<usize>,
}

/// A policy that is not parsed yet.
struct PolicyText {
    path: PathBuf,
    text: String,
}

/// A sink of the program, or a queue that the program empties. Receives every finding.
enum Observer {
    Sink { name: String, sink: Box<dyn Sink> },
    Queue(Queue),
}

impl Observer {
    fn name(&self) -> &str {
        match self {
            Self::Sink { name, .. } => name,
            Self::Queue(queue) => queue.name(),
        }
    }

    fn into_queue(self) -> Queue {
        match self {
            Self::Sink { name, sink } => Queue::new(&name, sink, SINK_CAPACITY),
            Self::Queue(queue) => queue,
        }
    }
}

impl MonitorBuilder {
    /// Sets the policy to a file, or to the built-in policy with this name, such as
    /// `builtin:default`.
    ///
    /// Returns an error if the file cannot be read. [`start`](Self::start)
    /// parses the policy and reads the files that it extends.
    pub fn policy_file(self, path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref().to_owned();
        if let Some(text) = builtin(&path) {
            return Ok(Self { policy: Some(PolicyText { path, text: text.to_owned() }), ..self });
        }
        match read_file(&path) {
            Ok(text) => Ok(Self { policy: Some(PolicyText { path, text }), ..self }),
            Err(source) => Err(PolicyError::Read { path, source }),
        }
    }

    /// Sets the policy to a text in TOML. Relative paths in `extends` start at
    /// the current folder.
    pub fn policy_text(self, text: impl Into<String>) -> Self {
        let path = PathBuf::from(UNNAMED_POLICY);
        Self { policy: Some(PolicyText { path, text: text.into() }), ..self }
    }

    /// Calls a function for every finding: when it opens, when its severity
    /// rises, and when it is resolved.
    ///
    /// The function receives all findings, whatever the routes of the policy.
    /// It runs on a thread of its own, and may block or panic.
    ///
    /// The sink of the first function is named `on_finding`, the next one
    /// `on_finding-2`, and so on.
    pub fn on_finding(mut self, callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        self.n_callbacks += 1;
        let name = match self.n_callbacks {
            1 => "on_finding".to_owned(),
            n => format!("on_finding-{n}"),
        };
        self.sink(name, Callback(callback))
    }

    /// Calls a function for every finding, before the sinks receive the finding.
    ///
    /// The function runs on the thread of the monitor, so it must return within
    /// microseconds and must not wait. A function that panics is not called again.
    /// [`Running::wait_handled`] waits for its calls. Only the last function is called.
    pub fn on_finding_immediately(self, callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        Self { immediate: Some(Box::new(callback)), ..self }
    }

    /// Adds a sink of the program, which receives every finding like
    /// [`on_finding`](Self::on_finding). Its name occurs in logs, in findings
    /// about lost findings, and in [`Stopped`](crate::Stopped).
    pub fn sink(mut self, name: impl Into<String>, sink: impl Sink + 'static) -> Self {
        self.observers.push(Observer::Sink { name: name.into(), sink: Box::new(sink) });
        self
    }

    /// Adds a queue that receives every finding like [`on_finding`](Self::on_finding), and
    /// that a thread of the program empties. Returns the builder and the other end of the
    /// queue.
    pub fn deliveries(mut self, name: &str) -> (Self, Deliveries) {
        let (queue, deliveries) = Queue::with_deliveries(name, SINK_CAPACITY);
        self.observers.push(Observer::Queue(queue));
        (self, deliveries)
    }

    /// Adds a kind of detector that the policy may name.
    pub fn detector<D: DetectorKind>(self) -> Self {
        Self { registry: self.registry.detector::<D>(), ..self }
    }

    /// Adds a kind of sink that the policy may name.
    pub fn sink_kind<S: SinkKind>(self) -> Self {
        Self { registry: self.registry.sink::<S>(), ..self }
    }

    /// Adds a kind of source that the sessions of an override may name. The monitor
    /// reads no files.
    pub fn source<S: SourceKind>(self) -> Self {
        Self { registry: self.registry.source::<S>(), ..self }
    }

    /// Sets the number of recorded events that may wait, 1,024 by default.
    /// Further events are dropped and counted.
    pub fn queue_capacity(self, n_events: usize) -> Self {
        Self { queue_capacity: Some(n_events), ..self }
    }

    /// Sets the clock, such as a [`ManualClock`](crate::clock::ManualClock) in
    /// a test.
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Some(Arc::new(clock)), ..self }
    }

    /// Loads the policy without its secrets, for a program that checks recorded sessions.
    /// Returns the policy and the kinds that the policy may name.
    pub fn load_policy(self) -> Result<(Policy, Registry), StartError> {
        let registry = self.registry.build()?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let policy = load(self.policy, &registry, &*clock, None)?;
        Ok((policy, registry))
    }

    /// Loads the policy and starts the monitor.
    ///
    /// Without a policy, the built-in policy applies. The sink of a built-in policy,
    /// standard error, is used only if the program has set neither
    /// [`on_finding`](Self::on_finding) nor [`sink`](Self::sink).
    pub fn start(self) -> Result<Running, StartError> {
        let Self { registry, policy, observers, immediate, clock, queue_capacity, .. } = self;
        let registry = registry.build()?;
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
        let is_builtin = policy.as_ref().is_none_or(|policy| builtin(&policy.path).is_some());
        let uses_policy_sinks = !is_builtin || observers.is_empty();
        let variables = |name: &str| env::var_os(name);
        let mut policy = load(policy, &registry, &*clock, Some(&variables))?;
        if !uses_policy_sinks {
            policy.sinks.clear();
        }

        let mut config = MonitorConfig::default();
        config.check_interval = policy.monitor.check_interval.unsigned();
        config.shutdown_timeout = policy.monitor.shutdown_timeout.unsigned();
        if let Some(queue_capacity) = queue_capacity {
            config.queue_capacity = queue_capacity;
        }
        let mut engine_config = policy.engine_config();
        engine_config.ended_session_expiry = Some(ENDED_SESSION_EXPIRY);
        let engine = Engine::new(policy.detectors, engine_config);
        let sink_ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
        let router = Router::new(policy.routes, &sink_ids);
        let queues = policy.sinks.into_iter();
        let queues = queues.map(|named| Queue::new(&named.id, named.sink, named.queue_capacity));
        let observers = observers.into_iter().map(Observer::into_queue);
        let delivery = Delivery::with_observers(router, queues.collect(), observers.collect());
        let mut monitor =
            watchkeeper_core::Monitor::new(engine, delivery, config).with_clock(clock);
        if let Some(callback) = immediate {
            monitor = monitor.with_immediate_callback(callback);
        }
        monitor.start().map_err(StartError::Thread)
    }
}

impl fmt::Debug for MonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sinks: Vec<&str> = self.observers.iter().map(Observer::name).collect();
        f.debug_struct("MonitorBuilder")
            .field("registry", &self.registry)
            .field("policy", &self.policy.as_ref().map(|policy| &policy.path))
            .field("sinks", &sinks)
            .field("queue_capacity", &self.queue_capacity)
            .finish_non_exhaustive()
    }
}

/// Parses a policy, or the built-in one, and logs its warnings. Without `variables`, secrets
/// are not looked up.
fn load(
    policy: Option<PolicyText>,
    registry: &Registry,
    clock: &dyn Clock,
    variables: Option<Variables<'_>>,
) -> Result<Policy, PolicyError> {
    let read = |path: &Path| -> io::Result<String> {
        match &policy {
            Some(policy) if policy.path == path => Ok(policy.text.clone()),
            _ => read_file(path),
        }
    };
    let resolve = |path: &Path| -> io::Result<ResolvedFile> {
        match &policy {
            // The text may be part of the program.
            Some(policy) if policy.path == path => resolve_file(path)
                .or_else(|_| Ok(ResolvedFile::trusted(std::path::absolute(path)?))),
            _ => resolve_file(path),
        }
    };
    let path = policy.as_ref().map_or(Path::new(BUILTIN_DEFAULT), |policy| &policy.path);
    let today = clock.now().to_zoned(TimeZone::UTC).date();
    let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let loader = Loader::new(registry, &read).resolve(&resolve);
    let mut loader = loader.home(home.as_deref()).today(today);
    if let Some(variables) = variables {
        loader = loader.environment(variables);
    }
    let loaded = loader.load(path);
    if loaded.policy.is_some() {
        for diagnostic in &loaded.diagnostics {
            let file = loaded.files.get(diagnostic.file).map(|file| file.path.display());
            let file = make_safe(&file.map(|path| path.to_string()).unwrap_or_default());
            tracing::warn!(target: "watchkeeper::policy", file, "{}", diagnostic.message);
        }
    }
    Ok(loaded.into_policy()?)
}

/// A sink that passes findings to a function.
struct Callback<F>(F);

impl<F: FnMut(&Finding) + Send> Sink for Callback<F> {
    fn deliver(&mut self, finding: &Finding) -> Result<(), crate::SinkError> {
        (self.0)(finding);
        Ok(())
    }
}
