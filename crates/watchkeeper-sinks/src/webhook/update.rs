use std::collections::VecDeque;

use watchkeeper_core::{Finding, Fingerprint, Status};

/// The news that a finding brings to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    /// A condition was found.
    Opened,
    /// A condition of which the receiver knows became more severe, or has a better
    /// explanation.
    Escalated,
    /// A condition has ended.
    Resolved,
}

impl Update {
    /// Returns the type of event, as Standard Webhooks recommends to name it.
    pub(super) const fn event_type(self) -> &'static str {
        match self {
            Self::Opened => "finding.opened",
            Self::Escalated => "finding.escalated",
            Self::Resolved => "finding.resolved",
        }
    }
}

/// The conditions that the receiver knows to be open, oldest first.
#[derive(Debug, Default)]
pub(super) struct OpenConditions(VecDeque<Condition>);

#[derive(Debug)]
struct Condition {
    fingerprint: Fingerprint,
    /// The first finding that the receiver accepted, which may be delivered again.
    opened_by: Fingerprint,
}

impl OpenConditions {
    /// The largest number of conditions. The oldest one is forgotten.
    const MAX: usize = 4096;

    /// Returns the news that a finding brings.
    pub(super) fn update_of(&self, finding: &Finding) -> Update {
        let mut known = self.0.iter().rev();
        let known = known.find(|condition| condition.fingerprint == finding.fingerprint);
        match (finding.status, known) {
            (Status::Resolved, _) => Update::Resolved,
            (Status::Open, Some(condition)) if condition.opened_by != finding.id => {
                Update::Escalated
            }
            (Status::Open, None) if finding.replaces.is_some() => Update::Escalated,
            (Status::Open, _) => Update::Opened,
        }
    }

    /// Returns the news that each finding of a request brings.
    pub(super) fn updates_of<'f>(&self, findings: &[&'f Finding]) -> Vec<(&'f Finding, Update)> {
        let update = |(idx, finding): (usize, &&'f Finding)| {
            let is_same = |earlier: &&&Finding| earlier.fingerprint == finding.fingerprint;
            let earlier = findings[..idx].iter().rfind(is_same).map(|earlier| earlier.status);
            let update = match (earlier, finding.status) {
                (Some(Status::Open), Status::Open) => Update::Escalated,
                (Some(Status::Resolved), Status::Open) => Update::Opened,
                _ => self.update_of(finding),
            };
            (*finding, update)
        };
        findings.iter().enumerate().map(update).collect()
    }

    /// Records that the receiver accepted a finding.
    pub(super) fn record(&mut self, finding: &Finding) {
        let is_same = |condition: &Condition| condition.fingerprint == finding.fingerprint;
        match finding.status {
            Status::Resolved => self.0.retain(|condition| !is_same(condition)),
            Status::Open if self.0.iter().any(is_same) => {}
            Status::Open => {
                if self.0.len() == Self::MAX {
                    self.0.pop_front();
                }
                let Finding { fingerprint, id, .. } = *finding;
                self.0.push_back(Condition { fingerprint, opened_by: id });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::finding;

    /// Returns a finding with this id and fingerprint.
    fn open(id: u64, fingerprint: u64) -> Finding {
        let mut finding = finding();
        finding.id = Fingerprint::from(id);
        finding.fingerprint = Fingerprint::from(fingerprint);
        finding
    }

    #[test]
    fn later_findings_of_an_open_condition_escalate_it() {
        let mut conditions = OpenConditions::default();
        let (first, second, other) = (open(1, 7), open(2, 7), open(3, 8));
        assert_eq!(conditions.update_of(&first), Update::Opened);
        // The receiver does not know a finding that it did not accept.
        assert_eq!(conditions.update_of(&second), Update::Opened);
        conditions.record(&first);
        assert_eq!(conditions.update_of(&first), Update::Opened);
        assert_eq!(conditions.update_of(&second), Update::Escalated);
        assert_eq!(conditions.update_of(&other), Update::Opened);
        conditions.record(&second);
        let mut end = open(4, 7);
        end.status = Status::Resolved;
        assert_eq!(conditions.update_of(&end), Update::Resolved);
        conditions.record(&end);
        assert_eq!(conditions.update_of(&open(5, 7)), Update::Opened);
    }

    #[test]
    fn the_findings_of_a_request_follow_each_other() {
        let (first, second, other) = (open(1, 7), open(2, 7), open(3, 8));
        let mut end = open(4, 7);
        end.status = Status::Resolved;
        let again = open(5, 7);
        let updates =
            OpenConditions::default().updates_of(&[&first, &second, &other, &end, &again]);
        let updates: Vec<Update> = updates.into_iter().map(|(_, update)| update).collect();
        let [opened, resolved] = [Update::Opened, Update::Resolved];
        assert_eq!(updates, [opened, Update::Escalated, opened, resolved, opened]);
    }

    #[test]
    fn a_better_explanation_escalates_a_condition_that_was_forgotten() {
        let mut finding = open(1, 7);
        finding.replaces = Some("repeated_text".into());
        assert_eq!(OpenConditions::default().update_of(&finding), Update::Escalated);
    }

    #[test]
    fn the_oldest_condition_is_forgotten() {
        let mut conditions = OpenConditions::default();
        for n in 0..=OpenConditions::MAX as u64 {
            conditions.record(&open(n, n));
        }
        assert_eq!(conditions.0.len(), OpenConditions::MAX);
        assert_eq!(conditions.update_of(&open(u64::MAX, 0)), Update::Opened);
        assert_eq!(conditions.update_of(&open(u64::MAX, 1)), Update::Escalated);
    }
}
