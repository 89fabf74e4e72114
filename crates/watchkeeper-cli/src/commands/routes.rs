mod error;

use std::{collections::BTreeSet, io, sync::Arc};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use watchkeeper_core::{
    Finding, Severity, Status as FindingStatus, Timestamp,
    author::{Period, make_safe},
    clock::{Clock as _, SystemClock},
    embed::{Entry as _, Mismatch, Registry, Route, Router, Silence, Silences},
    quote,
};
use watchkeeper_policy::Policy;

pub(crate) use self::error::FactError;
use super::silence::SilenceError;
use crate::{
    conditions::{Condition, grouped, warn_of_unknown_names},
    error::Error,
    global::Global,
    loading,
    numbers::to_second,
    output::{Output, Status},
    report::write_pretty,
    silences_file,
    state_folder::StateFolder,
};

/// Test the routes of a policy
#[derive(Debug, Args)]
pub(crate) struct TestRoutes {
    #[command(subcommand)]
    command: RoutesCommand,
}

#[derive(Debug, Subcommand)]
enum RoutesCommand {
    /// Print the routes that send a finding, its sinks, and why other routes do not send it
    ///
    /// Findings about a changed policy go to all sinks, and findings about a failing sink to all
    /// other sinks, whatever the routes and silences.
    Test(RouteTest),
}

#[derive(Debug, Args)]
struct RouteTest {
    /// Facts of the finding: `detector`, `severity`, `class`, `kind`, `session`, `source`,
    /// `agent`, `tag` and `label:NAME`
    ///
    /// The kind, the class and the tags are those of the detector in the policy, and the severity
    /// is `medium`, unless they are given. `tag` adds a tag. Labels of `[labels]` apply.
    #[arg(value_name = "KEY=VALUE", required = true)]
    facts: Vec<Condition>,

    /// Format of the result
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: RoutesFormat,

    #[command(flatten)]
    folder: StateFolder,
}

/// Format of the result of `routes test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoutesFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// The result of `routes test`.
#[derive(Debug, Serialize)]
struct RoutedFinding {
    /// The sinks of findings that are sent without routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    without_routes: Option<&'static str>,
    routes: Vec<RouteResult>,
    silence: Option<SilenceResult>,
    /// The names of the sinks that receive the finding.
    sinks: Vec<String>,
}

/// The decision of a route.
#[derive(Debug, Serialize)]
struct RouteResult {
    route: String,
    sends: bool,
    /// The reason for which the route does not send the finding.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The time for which the finding has to be open before.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    open_for: Option<String>,
    /// The time for which the finding waits for others of its notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_wait: Option<String>,
    /// The time in which the route does not send the finding again.
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown: Option<String>,
    sinks: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SilenceResult {
    id: String,
    until: Timestamp,
    author: String,
    reason: String,
}

impl TestRoutes {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let RoutesCommand::Test(test) = self.command;
        let file = loading::find(global.policy.as_deref(), output);
        if global.is_verbose() {
            loading::print_place(&file, output);
        }
        let policy = loading::policy(&file, global, registry, output)?;
        let finding = test.finding(registry, &policy)?;
        warn_of_unknown_names(&grouped(test.facts), &policy, output);
        let mut silences = policy.routes.silences().clone();
        if let Some(folder) = test.folder.path(Some(&policy)) {
            silences.extend(silences_file::load(&folder).map_err(SilenceError::from)?);
        }
        let routed = RoutedFinding::new(policy, silences, &finding);
        match test.format {
            RoutesFormat::Json => write_pretty(&routed, output.out)?,
            RoutesFormat::Text => routed.print(output)?,
        }
        output.out.flush()?;
        Ok(Status::Success)
    }
}

impl RouteTest {
    /// Makes the finding of the arguments.
    fn finding(&self, registry: &Registry, policy: &Policy) -> Result<Finding, FactError> {
        let mut finding = Finding::new(SystemClock.now(), "", "", Severity::Medium, "");
        let mut labels = (*policy.labels).clone();
        let facts = || self.facts.iter().map(|fact| (fact.key.as_str(), fact.value.as_str()));
        if let Some((_, id)) = facts().find(|(key, _)| *key == "detector") {
            if let Some(part) = id.strip_prefix("watchkeeper-") {
                finding = Finding::about_monitor(finding.at, part, finding.severity, "");
            }
            finding.detector = id.into();
            if let Some(detector) = policy.detectors.iter().find(|it| &*it.id == id) {
                (finding.kind, finding.class) = (detector.kind.clone(), detector.class.clone());
                finding.annotations = detector.annotations.clone();
            }
        }
        let annotations = Arc::make_mut(&mut finding.annotations);
        for (key, value) in facts() {
            match key {
                "detector" => {}
                "severity" => {
                    let severity = Severity::ALL.into_iter().find(|it| it.name() == value);
                    finding.severity = severity.ok_or_else(|| FactError::Severity(quote(value)))?;
                }
                "kind" => finding.kind = value.into(),
                "class" => finding.class = value.into(),
                "session" => finding.session = value.into(),
                "source" => {
                    let source = registry.sources.get(value);
                    let source = source.map_err(|_| FactError::Source(quote(value)))?;
                    finding.source = Some(source.kind());
                }
                "agent" => finding.agent = Some(value.into()),
                "tag" => annotations.tags.push(value.parse()?),
                other => match other.strip_prefix("label:").filter(|name| !name.is_empty()) {
                    Some(name) => {
                        labels.insert(name.to_owned(), value.to_owned());
                    }
                    None => return Err(FactError::Key(quote(other))),
                },
            }
        }
        finding.labels = labels.into();
        Ok(finding)
    }
}

impl RoutedFinding {
    fn new(policy: Policy, silences: Silences, finding: &Finding) -> Self {
        let ids: Vec<String> = policy.sinks.iter().map(|sink| sink.id.clone()).collect();
        let without_routes = without_routes(&finding.detector);
        // Findings about damaged records of a ledger follow the routes.
        if without_routes.is_some() && &*finding.detector != "watchkeeper-ledger" {
            return Self { without_routes, routes: Vec::new(), silence: None, sinks: ids };
        }
        let silence = silences.matching(finding, finding.at).map(SilenceResult::of);
        let has_match = policy.routes.iter().any(|it| !it.is_fallback && it.accepts(finding));
        let routes = policy.routes.iter().map(|route| {
            let reason = reason(route, finding, has_match);
            let sends = reason.is_none() && silence.is_none();
            let text = |period: Option<Period>| period.map(|period| period.to_string());
            RouteResult {
                route: route.name.clone(),
                sends,
                reason,
                open_for: text(route.open_for),
                group_wait: text(route.grouping.as_ref().map(|grouping| grouping.wait)),
                cooldown: text(route.cooldown),
                sinks: route.sinks.clone(),
            }
        });
        let routes = routes.collect();
        let mut router = Router::new(policy.routes, &ids);
        router.set_silences(silences);
        let mut routed = router.route(finding);
        if silence.is_none() {
            routed.extend(router.advance(Timestamp::MAX));
        }
        let sinks: BTreeSet<usize> =
            routed.iter().flat_map(|it| it.sinks.keys().copied()).collect();
        let sinks = sinks.into_iter().map(|sink_idx| ids[sink_idx].clone()).collect();
        Self { without_routes, routes, silence, sinks }
    }

    fn print(&self, output: &mut Output<'_>) -> io::Result<()> {
        if let Some(without_routes) = self.without_routes {
            writeln!(output.out, "{without_routes}, whatever the routes and silences")?;
        }
        for route in &self.routes {
            let decision = route.decision(self.silence.is_some());
            writeln!(output.out, "route {}: {}", quote(&route.route), make_safe(&decision))?;
        }
        if let Some(SilenceResult { id, until, author, reason }) = &self.silence {
            let until = to_second(*until);
            let text = format!("silence {id} of {author} until {until}: {reason}");
            writeln!(output.out, "{}", make_safe(&text))?;
        }
        writeln!(output.out, "sinks: {}", make_safe(&joined(&self.sinks)))
    }
}

impl RouteResult {
    /// Describes the decision for people.
    fn decision(&self, is_silenced: bool) -> String {
        let Self { reason, open_for, group_wait, cooldown, sinks, .. } = self;
        if let Some(reason) = reason {
            return format!("does not send: {reason}");
        }
        let verb = if is_silenced { "would send" } else { "sends" };
        let after = open_for.as_ref().map(|open_for| format!(" after {open_for}"));
        let group = group_wait.as_ref().map(|wait| format!(", with others of {wait}"));
        let again = cooldown.as_ref().map(|cooldown| format!(", again after {cooldown}"));
        let details: String = [after, group, again].into_iter().flatten().collect();
        format!("{verb} to {}{details}", joined(sinks))
    }
}

impl SilenceResult {
    fn of(silence: &Silence) -> Self {
        let Silence { id, until, author, reason, .. } = silence.clone();
        Self { id, until, author, reason }
    }
}

/// Returns the sinks of the findings of a detector that are sent without routes.
fn without_routes(detector: &str) -> Option<&'static str> {
    match detector {
        "watchkeeper-policy" => Some("a finding about a changed policy goes to all sinks"),
        "watchkeeper-delivery" => Some("a finding about a sink goes to all other sinks"),
        "watchkeeper-ledger" => Some("a finding about an outage goes to all other sinks"),
        _ => None,
    }
}

/// Returns the reason for which a route does not send an open finding.
fn reason(route: &Route, finding: &Finding, has_match: bool) -> Option<String> {
    if route.matcher.status == Some(FindingStatus::Resolved) {
        return Some("it sends only the ends of findings".to_owned());
    }
    if let Some(Mismatch { field, expected, found, .. }) = route.matcher.mismatch(finding) {
        return Some(match found.filter(|found| !found.is_empty()) {
            Some(found) => format!("`{field}` is `{found}`, not `{expected}`"),
            None => format!("the finding has no `{field}`, and the route accepts `{expected}`"),
        });
    }
    let is_unused = route.is_fallback && has_match;
    is_unused.then(|| "it is a fallback, and another route matches".to_owned())
}

/// Joins names with commas.
fn joined(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
