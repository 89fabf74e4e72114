use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{
    AgentId, Level, Severity, SignedDuration, Timestamp, Unit,
    author::known_time,
    embed::{NamedDetector, Per},
};
use watchkeeper_page::{LevelSummary, StepOutcome};

/// Timeline of one session.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// Detectors of the policy: first those with findings, then by how near they
    /// came to one.
    pub(crate) detectors: Vec<DetectorSummary>,
    /// In order of time.
    pub(crate) entries: Vec<Entry>,
}

/// Summary of one detector for the session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DetectorSummary {
    /// Id in the policy.
    pub(crate) detector: Arc<str>,
    pub(crate) kind: Arc<str>,
    /// `false` if an override disables the detector for this session.
    pub(crate) active: bool,
    /// Fact whose sessions the detector counts together, such as `label:team`.
    pub(crate) per: Option<String>,
    /// Reasons of the overrides that apply to this session.
    pub(crate) overrides: Vec<String>,
    /// Unit of the measures.
    pub(crate) unit: Unit,
    /// Levels of the policy.
    pub(crate) levels: Vec<LevelSummary>,
    /// Highest severity of the findings.
    pub(crate) severity: Option<Severity>,
    /// Number of findings.
    pub(crate) findings: u64,
    /// Highest measure.
    pub(crate) maximum: Option<Maximum>,
    /// The wait that came nearest to its wake-up.
    pub(crate) longest_wait: Option<Wait>,
    /// Notes of the detector, such as exceptions that applied, with their number.
    pub(crate) notes: BTreeMap<String, u64>,
    /// Number of reports that other detectors suppressed.
    pub(crate) suppressed: u64,
    /// Detectors whose findings suppressed them.
    pub(crate) suppressed_by: BTreeSet<Arc<str>>,
    /// Detectors whose open findings this one replaced.
    pub(crate) replaced: BTreeSet<Arc<str>>,
    /// `true` if the detector panicked and was disabled.
    pub(crate) panicked: bool,
}

/// Highest measure of a detector.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Maximum {
    pub(crate) measure: u64,
    pub(crate) location: Location,
    pub(crate) message: String,
}

/// A wait for a wake-up that was canceled.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Wait {
    #[serde(rename = "seconds", serialize_with = "seconds")]
    #[schemars(with = "i64")]
    pub(crate) time: SignedDuration,
    /// Time from the request to the wake-up.
    #[serde(rename = "limit_seconds", serialize_with = "seconds")]
    #[schemars(with = "i64")]
    pub(crate) limit: SignedDuration,
    /// The event that ended the wait; without a line, the end of the recording.
    pub(crate) location: Location,
}

/// An event or a wake-up on which a detector acted.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Entry {
    pub(crate) location: Location,
    /// Sub-agent of the event.
    #[schemars(with = "Option<String>")]
    pub(crate) agent: Option<AgentId>,
    /// Name of the event; `None` for a wake-up.
    pub(crate) event: Option<&'static str>,
    /// The event in a few words, for people.
    pub(crate) summary: String,
    /// Actions of the detectors, in the order in which they happened.
    pub(crate) steps: Vec<Step>,
    /// Number of earlier events.
    #[serde(skip)]
    pub(crate) event_idx: u64,
}

/// An action of a detector.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Step {
    pub(crate) detector: Arc<str>,
    pub(crate) outcome: StepOutcome,
    /// The reported measure.
    pub(crate) measure: Option<u64>,
    /// The next level above the measure.
    pub(crate) next_level: Option<LevelSummary>,
    /// Severity of the finding, or of the suppressed report.
    pub(crate) severity: Option<Severity>,
    /// Detectors that suppress the report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) suppressed_by: Vec<Arc<str>>,
    /// Detector whose open finding the step replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<Arc<str>>,
    pub(crate) message: String,
    /// `true` if the text report shows the step without `--verbose`.
    #[serde(skip)]
    pub(crate) is_notable: bool,
    #[serde(skip)]
    pub(crate) unit: Unit,
}

/// Time, file and line of an event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Location {
    /// `null` if the session has no times.
    #[serde(serialize_with = "known")]
    #[schemars(with = "Option<String>")]
    pub(crate) at: Timestamp,
    pub(crate) file: Option<Arc<str>>,
    pub(crate) line: Option<u64>,
}

fn known<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    known_time(*at).serialize(serializer)
}

fn seconds<S: serde::Serializer>(
    duration: &SignedDuration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(duration.as_secs())
}

impl DetectorSummary {
    /// Creates the summary of a detector that is active in the session.
    pub(super) fn active(detector: &NamedDetector, unit: Unit) -> Self {
        let level = |level: &Level| LevelSummary { at: level.at, severity: level.severity };
        let overrides = detector.sessions.all_of.iter().filter_map(|it| it.reason.clone());
        Self {
            active: true,
            per: detector.per.as_ref().map(Per::to_string),
            overrides: overrides.collect(),
            unit,
            levels: detector.levels.iter().map(level).collect(),
            ..Self::disabled(&detector.id, &detector.kind)
        }
    }

    /// Creates the summary of a detector that is disabled for the session.
    pub(super) fn disabled(id: &Arc<str>, kind: &Arc<str>) -> Self {
        Self {
            detector: id.clone(),
            kind: kind.clone(),
            active: false,
            per: None,
            overrides: Vec::new(),
            unit: Unit::Count,
            levels: Vec::new(),
            severity: None,
            findings: 0,
            maximum: None,
            longest_wait: None,
            notes: BTreeMap::new(),
            suppressed: 0,
            suppressed_by: BTreeSet::new(),
            replaced: BTreeSet::new(),
            panicked: false,
        }
    }

    /// Returns `true` if the detector counted no event and has no note, override or
    /// label.
    pub(crate) fn is_unremarkable(&self) -> bool {
        let Self { active, per, overrides, maximum, longest_wait, notes, panicked, .. } = self;
        let is_plain = *active && per.is_none() && overrides.is_empty() && !panicked;
        is_plain && maximum.is_none() && longest_wait.is_none() && notes.is_empty()
    }

    /// Returns the highest measure as a share of the lowest level: from 1 on there
    /// is a finding.
    #[expect(clippy::cast_precision_loss, reason = "the result is only compared")]
    pub(super) fn nearness(&self) -> f64 {
        let lowest = self.levels.first().map_or(1, |level| level.at.max(1));
        match (&self.maximum, &self.longest_wait) {
            (Some(maximum), _) => maximum.measure as f64 / lowest as f64,
            (None, Some(wait)) => wait.share(),
            (None, None) => 0.0,
        }
    }
}

impl Wait {
    /// Returns the elapsed share of the wait.
    pub(super) fn share(&self) -> f64 {
        self.time.as_secs_f64() / self.limit.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}
