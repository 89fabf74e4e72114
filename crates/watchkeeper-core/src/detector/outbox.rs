use super::report::Report;
use crate::{Fingerprint, Severity, compact::PackedTimestamp};

/// The requests of one detector while it handles one event or wake-up.
///
/// The [`Context`](super::Context) fills it, and the engine empties it: measures
/// become episodes and findings, and wake-up requests become timers.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// In the order in which the detector made them.
    pub(crate) outputs: Vec<Output>,
    /// The latest request; `None` if the detector made none.
    pub(crate) wakeup: Option<WakeupRequest>,
    /// The ids of pending calls that [`Context::pending`](super::Context::pending)
    /// skips.
    pub(crate) hidden_calls: Vec<Fingerprint>,
}

#[derive(Debug)]
pub(crate) enum Output {
    /// A condition holds.
    Measure {
        subject: Fingerprint,
        measure: u64,
        /// `None` if the measure needs no finding, and the session is not explained.
        report: Option<Report>,
        /// The severity of the highest level that the measure reaches.
        reached: Option<Severity>,
        /// The finding that was open before the event has ended.
        is_reopened: bool,
    },
    /// A condition has ended.
    Resolve { subject: Fingerprint, report: Report },
    /// Text for an explanation.
    Note(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeupRequest {
    At(PackedTimestamp),
    Cancel,
}

impl Output {
    /// Returns whether another measure of the condition, of the same severity, is at least
    /// as high; `None` if the outputs differ in anything else.
    fn is_exceeded_by(&self, other: &Self) -> Option<bool> {
        let measure = |output: &Self| match output {
            Self::Measure { subject, measure, reached, is_reopened, .. } => {
                Some((*measure, (*subject, *reached, *is_reopened)))
            }
            Self::Resolve { .. } | Self::Note(_) => None,
        };
        let ((own, condition), (others, other_condition)) = (measure(self)?, measure(other)?);
        (condition == other_condition).then_some(own <= others)
    }
}

impl Outbox {
    /// Returns whether the detector requested nothing.
    pub(crate) fn is_empty(&self) -> bool {
        // Without branches: every run of a detector ends with this.
        let n_wakeups = usize::from(self.wakeup.is_some());
        self.outputs.len() | self.hidden_calls.len() | n_wakeups == 0
    }

    /// Returns whether the detector requested more than a wake-up.
    pub(crate) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty() || !self.hidden_calls.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.outputs.clear();
        self.hidden_calls.clear();
        self.wakeup = None;
    }

    /// Returns whether an earlier output ends the finding that was open before the event.
    pub(super) fn resolves(&self, of: Fingerprint) -> bool {
        let latest = self.outputs.iter().rev().find_map(|output| match output {
            Output::Measure { subject, is_reopened, .. } if *subject == of => Some(*is_reopened),
            Output::Resolve { subject, .. } if *subject == of => Some(true),
            _ => None,
        });
        latest.unwrap_or(false)
    }

    /// Returns whether an earlier output ends any condition.
    pub(super) fn resolves_any(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Resolve { .. }))
    }

    /// Adds a measure, in place of the latest one if neither changes a severity: a long
    /// message may contain thousands of repetitions. The higher measure counts.
    pub(super) fn add_measure(&mut self, output: Output) {
        if let [.., before, latest] = &mut self.outputs[..]
            && let Some(higher) = latest.is_exceeded_by(&output)
            && before.is_exceeded_by(&output).is_some()
        {
            if higher {
                *latest = output;
            }
        } else {
            self.outputs.push(output);
        }
    }

    /// Returns whether the latest output about a condition leaves it open; `None` if
    /// there is no such output.
    pub(super) fn is_open(&self, of: Fingerprint) -> Option<bool> {
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Measure { subject, .. } if *subject == of => Some(true),
            Output::Resolve { subject, .. } if *subject == of => Some(false),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Outbox, Output};
    use crate::{Fingerprint, Severity, detector::report::Report};

    fn measure(subject: u64, measure: u64) -> Output {
        Output::Measure {
            subject: Fingerprint::from(subject),
            measure,
            report: None,
            reached: (3 <= measure).then_some(Severity::Low),
            is_reopened: false,
        }
    }

    #[test]
    fn keeps_the_highest_of_many_measures() {
        let mut outbox = Outbox::default();
        for n in (0..10_000).chain([7]) {
            outbox.add_measure(measure(1, n));
        }
        outbox.outputs.push(Output::Resolve { subject: 1.into(), report: Report::default() });
        outbox.add_measure(measure(1, 4));
        outbox.add_measure(measure(2, 5));
        let measures = outbox.outputs.iter().map(|output| match output {
            Output::Measure { measure, .. } => Some(*measure),
            _ => None,
        });
        let kept: Vec<_> = measures.collect();
        assert_eq!(kept, [Some(0), Some(2), Some(3), Some(9_999), None, Some(4), Some(5)]);
    }
}
