use jiff::Timestamp;

use super::{
    memory::{Memory, Sent},
    route::Route,
};
use crate::{Finding, Fingerprint, Period, Status};

/// The decision of a route about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The finding is sent, after this number of suppressed repeats.
    Send { n_suppressed: u32 },
    /// The finding is sent if it is still open at this time.
    Wait { until: Timestamp },
    /// The finding repeats within the cooldown.
    Suppress,
    /// The finding does not match.
    Skip,
}

impl Route {
    /// Decides about a finding that the route learns of at `now`.
    pub(super) fn decide(
        &self,
        key: (usize, Fingerprint),
        finding: &Finding,
        now: Timestamp,
        sent: &mut Memory,
    ) -> Decision {
        if !self.follows_open(finding) && !self.accepts(finding) {
            return Decision::Skip;
        }
        let last_open = || sent.get(key).filter(|last| last.is_open);
        match (finding.status, self.matcher.status) {
            (Status::Open, _) => match self.wait(key, now, sent) {
                Some(until) => Decision::Wait { until },
                None => self.decide_open(key, finding, now, sent),
            },
            (Status::Resolved, Some(_)) => Decision::Send { n_suppressed: 0 },
            (Status::Resolved, None) => {
                let Some(last) = last_open() else { return Decision::Skip };
                if !self.send_resolved {
                    sent.insert(key, Sent { is_open: false, ..last });
                    return Decision::Skip;
                }
                sent.insert(key, Sent { is_open: false, n_suppressed: 0, ..last });
                Decision::Send { n_suppressed: last.n_suppressed }
            }
        }
    }

    /// Returns the time until which an open finding has to wait that the route learns of at `now`.
    pub(super) fn wait(
        &self,
        key: (usize, Fingerprint),
        now: Timestamp,
        sent: &Memory,
    ) -> Option<Timestamp> {
        let open_for = self.open_for?;
        // A higher severity of an episode that was sent has not to wait again.
        let is_sent = sent.get(key).is_some_and(|last| last.is_open);
        (!is_sent).then(|| now.saturating_add(open_for.get()).unwrap_or(Timestamp::MAX))
    }

    /// Decides about an open finding that has not to wait.
    pub(super) fn decide_open(
        &self,
        key: (usize, Fingerprint),
        finding: &Finding,
        now: Timestamp,
        sent: &mut Memory,
    ) -> Decision {
        if self.cooldown.is_none() && self.open_for.is_none() && !self.send_resolved {
            return Decision::Send { n_suppressed: 0 };
        }
        let last = sent.get(key);
        let is_same = |last: Sent| (last.at, last.severity) == (finding.at, finding.severity);
        if now != finding.at && last.is_some_and(|last| last.is_open && is_same(last)) {
            // An earlier process has sent it, before the silence that has ended now.
            return Decision::Skip;
        }
        if let Some((cooldown, last)) = self.cooldown.zip(last)
            && finding.severity <= last.severity
            && is_within(cooldown, last.at, now)
        {
            let n_suppressed = last.n_suppressed.saturating_add(1);
            sent.insert(key, Sent { n_suppressed, ..last });
            return Decision::Suppress;
        }
        let severity = finding.severity;
        sent.insert(key, Sent { at: now, severity, is_open: true, n_suppressed: 0 });
        Decision::Send { n_suppressed: last.map_or(0, |last| last.n_suppressed) }
    }
}

/// Returns whether a finding at `at` is within the cooldown of one at `last`. Not if the
/// wall clock was set back meanwhile: a cooldown would last until the clock has caught up.
fn is_within(cooldown: Period, last: Timestamp, at: Timestamp) -> bool {
    let since = at.duration_since(last);
    !since.is_negative() && since < cooldown.get()
}
