//! The content of the report of `tune`.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use watchkeeper_core::{Level, SessionId, Severity, Unit};
use watchkeeper_testing::labels::Stretch;

use super::{
    labelled::LabelledFile,
    levels::{TunedDetector, TunedDetectors},
    measures::{MeasuredEpisode, Measures},
    model::Model,
    proposal::{Balance, Proposal},
};

/// Sessions without times that count as one day.
const SESSIONS_A_DAY: u64 = 10;

/// The findings at each level, and the proposed levels.
#[derive(Debug, Serialize)]
pub(crate) struct TuneReport {
    pub(crate) sessions: u64,
    #[serde(flatten)]
    pub(crate) pace: Pace,
    /// The wanted number of findings; `None` if the levels follow labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wanted: Option<Wanted>,
    /// Findings of `medium` or above at the present levels, without budgets.
    pub(crate) findings: u64,
    /// Findings of `medium` or above at the proposed levels, without budgets.
    pub(crate) proposed_findings: u64,
    pub(crate) detectors: Vec<DetectorReport>,
    /// Detectors that count several sessions together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_counted: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<LabelsReport>,
    /// The policy with the proposed levels.
    pub(crate) policy: String,
}

/// The time over which findings are counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Pace {
    /// Days on which sessions have events.
    pub(crate) days: u64,
    pub(crate) sessions_without_times: u64,
}

/// The wanted number of findings of `medium` or above a day.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Wanted {
    pub(crate) per_day: f64,
    /// `true` if levels may be lowered to reach the number.
    pub(crate) may_lower: bool,
}

/// The episodes of one detector.
#[derive(Debug, Serialize)]
pub(crate) struct DetectorReport {
    pub(crate) detector: Arc<str>,
    pub(crate) kind: Arc<str>,
    pub(crate) unit: Unit,
    #[serde(serialize_with = "serialize_levels")]
    pub(crate) levels: Vec<Level>,
    /// Findings of `medium` or above at the present levels.
    pub(crate) findings: u64,
    /// In ascending order of the levels.
    pub(crate) counts: Vec<LevelCount>,
    /// `None` if the present levels stay.
    #[serde(serialize_with = "serialize_optional_levels")]
    pub(crate) proposed_levels: Option<Vec<Level>>,
    /// Findings of `medium` or above at the proposed levels of all detectors.
    pub(crate) proposed_findings: u64,
    pub(crate) examples: Vec<Example>,
    /// `false` if the detector keeps its levels: it has a budget, or reports at most
    /// `low`.
    pub(crate) is_tunable: bool,
}

/// The episodes of one detector whose highest measure reaches a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LevelCount {
    pub(crate) at: u64,
    /// All episodes, with suppressed ones.
    pub(crate) episodes: u64,
    /// Findings of `medium` or above if this is the level of `medium`, and all other
    /// detectors keep their levels; `None` if the detector keeps its levels.
    pub(crate) findings: Option<u64>,
}

/// An episode to judge.
#[derive(Debug, Serialize)]
pub(crate) struct Example {
    /// `true` if the measure reaches the level of `medium`.
    pub(crate) reaches: bool,
    pub(crate) measure: u64,
    pub(crate) session: SessionId,
    pub(crate) file: Option<Arc<str>>,
    pub(crate) line: Option<u64>,
    pub(crate) message: String,
}

/// The labelled sessions with the present and the proposed levels.
#[derive(Debug, Serialize)]
pub(crate) struct LabelsReport {
    pub(crate) min_precision: f64,
    #[serde(serialize_with = "serialize_balance")]
    pub(crate) present: Balance,
    #[serde(serialize_with = "serialize_balance")]
    pub(crate) proposed: Balance,
    /// The proposed levels for sessions that did not choose them; `None` if there are too
    /// few sessions.
    #[serde(serialize_with = "serialize_optional_balance")]
    pub(crate) held_out: Option<Balance>,
    /// By name.
    pub(crate) kinds: Vec<KindReport>,
    /// Sessions that come out wrong with the present or the proposed levels.
    pub(crate) wrong: Vec<WrongSession>,
}

/// The stretches of one kind of trouble in which a finding is due.
#[derive(Debug, Serialize)]
pub(crate) struct KindReport {
    pub(crate) kind: String,
    pub(crate) stretches: u64,
    /// Stretches with a finding at the present levels.
    pub(crate) found: u64,
    /// Stretches with a finding at the proposed levels.
    pub(crate) proposed_found: u64,
}

/// A labelled session that comes out wrong.
#[derive(Debug, Serialize)]
pub(crate) struct WrongSession {
    pub(crate) file: String,
    /// `true` if a finding is due, and `false` for a false alarm.
    pub(crate) is_missed: bool,
    /// `true` if the session is wrong with the present levels.
    pub(crate) at_present: bool,
    /// `true` if the session is wrong with the proposed levels.
    pub(crate) as_proposed: bool,
    /// The label, or the finding that is a false alarm.
    pub(crate) reason: String,
}

/// The findings of `medium` or above in one labelled file, without budgets.
#[derive(Debug, Default)]
pub(crate) struct LabelledFindings {
    /// The number of findings in the report of the file.
    n_findings: u64,
    /// The findings with their steps.
    findings: Vec<LabelledFinding>,
}

#[derive(Debug)]
struct LabelledFinding {
    severity: Severity,
    /// The steps at which a finding was emitted.
    steps: Vec<u64>,
    /// Detector, message and line.
    text: String,
}

impl TuneReport {
    /// Creates a report without labels and without a policy.
    ///
    /// `measures` are those of the present levels, and `proposed` those of the proposed
    /// ones.
    pub(crate) fn new(
        detectors: &TunedDetectors,
        [measures, proposed]: [&Measures; 2],
        proposal: &Proposal,
        pace: Pace,
        n_examples: usize,
    ) -> Self {
        let model = Model::new(detectors, measures);
        let reports =
            detectors.iter().zip(proposal).enumerate().map(|(idx, (detector, medium))| {
                let counted = detector.counted_levels(measures.highest(idx));
                let candidates = detector.candidates(measures.highest(idx));
                let count = |at: u64| {
                    let findings = (detector.is_tunable() && candidates.contains(&at)).then(|| {
                        let mut medium = vec![None; detectors.len()];
                        medium[idx] = Some(at);
                        model.n_findings(&medium)[idx]
                    });
                    LevelCount { at, episodes: measures.n_reaching(idx, at), findings }
                };
                let present = detector.medium_level().filter(|_| detector.is_tunable());
                DetectorReport {
                    detector: detector.id.clone(),
                    kind: detector.kind.clone(),
                    unit: detector.unit,
                    levels: detector.levels.clone(),
                    findings: measures.n_findings[idx],
                    counts: counted.into_iter().map(count).collect(),
                    proposed_levels: medium.map(|medium| detector.with_medium_level(medium)),
                    proposed_findings: proposed.n_findings[idx],
                    examples: examples(measures, idx, medium.or(present), n_examples),
                    is_tunable: detector.is_tunable(),
                }
            });
        let reports: Vec<DetectorReport> = reports.collect();
        let tuned = || reports.iter().filter(|detector| detector.is_tunable);
        Self {
            sessions: measures.sessions.len() as u64,
            pace,
            wanted: None,
            findings: tuned().map(|detector| detector.findings).sum(),
            proposed_findings: tuned().map(|detector| detector.proposed_findings).sum(),
            detectors: reports,
            not_counted: detectors.shared.iter().cloned().collect(),
            labels: None,
            policy: String::new(),
        }
    }

    /// Returns whether other levels are proposed.
    pub(crate) fn has_changes(&self) -> bool {
        self.detectors.iter().any(|detector| detector.proposed_levels.is_some())
    }

    /// Returns whether the proposed levels leave more findings than wanted.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn exceeds(&self, wanted: Wanted) -> bool {
        wanted.per_day * self.pace.in_days() < self.proposed_findings as f64
    }
}

/// Returns the episodes whose measures are nearest to a level: half of them, rounded up,
/// at the level or above. Returns none for a detector that keeps its levels.
fn examples(measures: &Measures, detector: usize, level: Option<u64>, n: usize) -> Vec<Example> {
    let Some(level) = level else { return Vec::new() };
    let mut nearest: Vec<Example> = Vec::new();
    for session in &measures.sessions {
        let own = session.episodes.iter().filter(|episode| episode.detector == detector);
        nearest.extend(own.filter(|episode| episode.is_counted).map(|episode| Example {
            reaches: level <= episode.measure,
            measure: episode.measure,
            session: session.session.clone(),
            file: episode.place.as_ref().map(|(file, _)| file.clone()),
            line: episode.place.as_ref().map(|(_, line)| *line),
            message: episode.message.clone(),
        }));
    }
    nearest.sort_by_key(|example| example.measure.abs_diff(level));
    let (mut above, mut below): (Vec<_>, Vec<_>) =
        nearest.into_iter().partition(|example| example.reaches);
    let n_below = below.len().min(n / 2);
    above.truncate(n - n_below);
    below.truncate(n - above.len());
    above.extend(below);
    above.sort_by_key(|example| std::cmp::Reverse(example.measure));
    above
}

impl Pace {
    /// Returns the number of days.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn in_days(self) -> f64 {
        self.days as f64 + self.sessions_without_times as f64 / SESSIONS_A_DAY as f64
    }

    /// Returns a number of findings a day, or for each session if no session has times.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(super) fn rate(self, n: u64) -> f64 {
        let of = if self.days == 0 { self.sessions_without_times as f64 } else { self.in_days() };
        if of == 0.0 { 0.0 } else { n as f64 / of }
    }

    /// Returns the unit of the rate.
    pub(super) fn unit(self) -> &'static str {
        if self.days == 0 { "a session" } else { "a day" }
    }
}

impl LabelledFindings {
    /// Collects the findings in the measures of a file.
    pub(crate) fn new(detectors: &TunedDetectors, measures: &Measures) -> Self {
        let is_labelled = |episode: &&MeasuredEpisode| !detectors.get(episode.detector).is_budget;
        let findings = measures.episodes().filter(is_labelled).filter_map(|episode| {
            let finding = episode.finding?;
            let detector: &TunedDetector = detectors.get(episode.detector);
            let line = episode.place.as_ref().map(|(_, line)| format!(", line {line}"));
            let line = line.unwrap_or_default();
            Some(LabelledFinding {
                severity: finding.severity,
                steps: episode.emitted_at.clone(),
                text: format!(
                    "{} {} at step {}{line}: {}",
                    detector.id, finding.severity, finding.step, episode.message
                ),
            })
        });
        let counted = detectors.iter().zip(&measures.n_findings);
        let counted = counted.filter(|(detector, _)| !detector.is_budget);
        Self { n_findings: counted.map(|(_, n)| n).sum(), findings: findings.collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.n_findings == 0
    }

    /// Returns whether a finding of `medium` or above is emitted in a stretch.
    fn include(&self, stretch: &Stretch) -> bool {
        let mut steps = self.findings.iter().flat_map(|finding| &finding.steps);
        steps.any(|step| stretch.includes(*step))
    }

    /// Returns the text of the first of the most severe findings.
    fn worst(&self) -> Option<&str> {
        let worst = self.findings.iter().rev().max_by_key(|finding| finding.severity);
        worst.map(|finding| finding.text.as_str())
    }
}

impl LabelsReport {
    /// Compares the findings of each labelled file, at present and as proposed, with its
    /// labels.
    pub(crate) fn new(
        files: &[LabelledFile],
        findings: [&[&LabelledFindings]; 2],
        held_out: Option<Balance>,
        min_precision: f64,
    ) -> Self {
        let mut report = Self {
            min_precision,
            present: Balance::default(),
            proposed: Balance::default(),
            held_out,
            kinds: Vec::new(),
            wrong: Vec::new(),
        };
        for (idx, file) in files.iter().enumerate() {
            let [present, proposed] = findings.map(|findings| findings[idx]);
            report.add(file, present, proposed);
        }
        report.kinds.sort_by(|a, b| a.kind.cmp(&b.kind));
        report.wrong.sort_by_key(|wrong| {
            (!wrong.is_missed, !wrong.as_proposed, !wrong.at_present, wrong.file.clone())
        });
        report
    }

    fn add(
        &mut self,
        file: &LabelledFile,
        present: &LabelledFindings,
        proposed: &LabelledFindings,
    ) {
        let is_due = file.label.is_due();
        self.present.count(is_due, !present.is_empty());
        self.proposed.count(is_due, !proposed.is_empty());
        for stretch in file.label.due() {
            let kind = match self.kinds.iter_mut().find(|kind| kind.kind == stretch.kind) {
                Some(kind) => kind,
                None => {
                    let kind = stretch.kind.clone();
                    let new = KindReport { kind, stretches: 0, found: 0, proposed_found: 0 };
                    self.kinds.push(new);
                    let last = self.kinds.len() - 1;
                    &mut self.kinds[last]
                }
            };
            kind.stretches += 1;
            kind.found += u64::from(present.include(stretch));
            kind.proposed_found += u64::from(proposed.include(stretch));
        }
        let [at_present, as_proposed] =
            [present, proposed].map(|findings| findings.is_empty() == is_due);
        if !at_present && !as_proposed {
            return;
        }
        let reason = if is_due {
            // Of several stretches of one severity, `max_by_key` returns the last.
            let due: Vec<&Stretch> = file.label.due().collect();
            let stretch = due.into_iter().rev().max_by_key(|stretch| stretch.severity);
            stretch.map_or_else(String::new, |stretch| {
                let Stretch { kind, from_step, to_step, why, .. } = stretch;
                format!("{kind} in steps {from_step} to {to_step}: {why}")
            })
        } else {
            let finding = proposed.worst().or(present.worst()).unwrap_or_default();
            let verdict = file.label.severity().map_or("quiet", Severity::name);
            format!("{finding} ({verdict}: {})", file.label.why())
        };
        self.wrong.push(WrongSession {
            file: file.label.file().to_string_lossy().into_owned(),
            is_missed: is_due,
            at_present,
            as_proposed,
            reason,
        });
    }
}

/// A level, in the form of a policy.
#[derive(Serialize)]
struct SerializedLevel {
    at: u64,
    severity: Severity,
}

fn serialize_levels<S: Serializer>(levels: &[Level], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(levels.iter().map(|it| SerializedLevel { at: it.at, severity: it.severity }))
}

#[expect(clippy::ref_option, reason = "serde passes the type of the field")]
fn serialize_optional_levels<S: Serializer>(
    levels: &Option<Vec<Level>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match levels {
        Some(levels) => serialize_levels(levels, to),
        None => to.serialize_none(),
    }
}

fn serialize_balance<S: Serializer>(balance: &Balance, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(5))?;
    map.serialize_entry("found", &balance.found)?;
    map.serialize_entry("missed", &balance.missed)?;
    map.serialize_entry("false_alarms", &balance.false_alarms)?;
    map.serialize_entry("recall", &balance.recall())?;
    map.serialize_entry("precision", &balance.precision())?;
    map.end()
}

#[expect(clippy::ref_option, reason = "serde passes the type of the field")]
fn serialize_optional_balance<S: Serializer>(
    balance: &Option<Balance>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match balance {
        Some(balance) => serialize_balance(balance, to),
        None => to.serialize_none(),
    }
}
