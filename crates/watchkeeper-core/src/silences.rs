use std::sync::Arc;

use jiff::Timestamp;

use crate::{Finding, Matcher, Silenced};

/// A condition under which open findings are not sent, until a time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Silence {
    /// The name, for messages.
    pub id: String,
    /// The findings that are not sent.
    pub matcher: Matcher,
    /// The time from which findings are sent again.
    pub until: Timestamp,
    /// The person who is responsible for the silence.
    pub author: String,
    /// The reason, for other people.
    pub reason: String,
}

/// The silences of a policy and of its users.
///
/// A silence hides findings that open or escalate. A finding that is still open when the last
/// silence that matches it ends is sent then, with its present severity. The end of a finding is
/// sent during a silence too if the finding itself was sent, so that no receiver keeps it open.
#[derive(Clone, Debug, Default)]
pub struct Silences(Vec<Silence>);

impl Silence {
    /// Creates a silence.
    pub fn new(
        id: impl Into<String>,
        matcher: Matcher,
        until: Timestamp,
        author: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        let (id, author, reason) = (id.into(), author.into(), reason.into());
        Self { id, matcher, until, author, reason }
    }
}

impl Silences {
    /// Creates a set of silences.
    pub fn new(silences: Vec<Silence>) -> Self {
        Self(silences)
    }

    /// Returns the first silence that hides a finding at this time.
    pub fn matching(&self, finding: &Finding, now: Timestamp) -> Option<&Silence> {
        self.0.iter().find(|silence| now < silence.until && silence.matcher.matches(finding))
    }

    /// Returns the end of the last silence that hides a finding at this time.
    pub(crate) fn hidden_until(&self, finding: &Finding, now: Timestamp) -> Option<Timestamp> {
        let active = self.0.iter().filter(|silence| now < silence.until);
        active.filter(|silence| silence.matcher.matches(finding)).map(|it| it.until).max()
    }

    /// Returns the silence that hides a finding at its time, for receivers of silenced findings.
    pub(crate) fn silenced(&self, finding: &Finding) -> Option<Arc<Silenced>> {
        let Silence { id, until, author, reason, .. } = self.matching(finding, finding.at)?;
        let (id, author, reason) = (id.clone(), author.clone(), reason.clone());
        Some(Arc::new(Silenced { id, until: *until, author, reason }))
    }

    /// Returns the silences, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.0.iter()
    }
}

impl Extend<Silence> for Silences {
    fn extend<T: IntoIterator<Item = Silence>>(&mut self, silences: T) {
        self.0.extend(silences);
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{Silence, Silences};
    use crate::{Finding, Glob, Matcher, Severity};

    #[test]
    fn a_silence_hides_matching_findings_until_its_end() {
        let end = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60);
        let matcher = Matcher { detector: vec![Glob::new("call_*")], ..Matcher::default() };
        let silences = Silences::new(vec![Silence::new("a", matcher, end, "me", "a test")]);
        let silenced = |detector: &str, now| {
            let finding = Finding::new(Timestamp::UNIX_EPOCH, detector, "s1", Severity::High, "");
            silences.matching(&finding, now).map(|silence| silence.id.as_str())
        };
        assert_eq!(silenced("call_loop", Timestamp::UNIX_EPOCH), Some("a"));
        assert_eq!(silenced("call_loop", end - SignedDuration::from_nanos(1)), Some("a"));
        assert_eq!(silenced("call_loop", end), None);
        assert_eq!(silenced("token_burn", Timestamp::UNIX_EPOCH), None);
    }
}
