use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use watchkeeper_core::{
    Event, EventKind, Quota,
    author::{Evidence, known_time},
};

use crate::rate::RecentRate;

/// The number of quotas that are kept. Of more, the one whose latest statement came first is
/// dropped.
const MAX_QUOTAS: usize = 32;

/// The used part of a limit of an account, as the provider has stated it last in any session.
///
/// Sessions do not name their account: all sessions of one kind of source count as one account.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QuotaRow {
    /// The kind of source of the session.
    pub source: Option<String>,
    /// The name of the limit.
    pub name: String,
    /// The time in which the limit applies, in minutes.
    pub window_minutes: Option<i64>,
    /// The used part in percent.
    pub used_percent: f64,
    /// The time of the statement; `null` in a session without times.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// The time at which the limit starts again.
    #[schemars(with = "Option<String>")]
    pub resets_at: Option<Timestamp>,
    /// The growth of the used part in an hour, in percent of the limit, at the rate of the last
    /// minutes; `null` if that is not known.
    pub per_hour: Option<f64>,
    /// The time at which the limit is used up at this rate; `null` if it starts again before, or
    /// is not used up within 12 hours.
    #[schemars(with = "Option<String>")]
    pub empty_at: Option<Timestamp>,
    /// The session with the statement.
    pub session: String,
    /// The event with the statement.
    pub proof: Evidence,
}

/// The latest statements about quotas.
#[derive(Default)]
pub(crate) struct Quotas(Vec<(QuotaRow, RecentRate)>);

impl Quotas {
    /// Takes the statement of an event. A statement that is older than the latest one about the
    /// same quota has no effect.
    pub(crate) fn observe(&mut self, event: &Event) {
        let EventKind::Quota(quota) = &event.kind else { return };
        let row = row(event, quota);
        let is_same = |known: &QuotaRow| {
            (&known.source, &known.name, known.window_minutes)
                == (&row.source, &row.name, row.window_minutes)
        };
        let mut rate = RecentRate::default();
        if let Some(idx) = self.0.iter().position(|(known, _)| is_same(known)) {
            if row.at < self.0[idx].0.at {
                return;
            }
            rate = self.0.remove(idx).1;
        }
        if let Some(at) = row.at {
            rate.push(at, row.used_percent);
        }
        self.0.push((row, rate));
        if MAX_QUOTAS < self.0.len() {
            self.0.remove(0);
        }
    }

    /// Returns the quotas, the latest statement last.
    pub(crate) fn rows(&self) -> Vec<QuotaRow> {
        let with_forecast = |(row, rate): &(QuotaRow, RecentRate)| {
            let starts_again = |at: &Timestamp| row.resets_at.is_some_and(|reset| reset <= *at);
            let empty_at = rate.reaches(100.0).filter(|at| !starts_again(at));
            QuotaRow { per_hour: rate.per_hour(), empty_at, ..row.clone() }
        };
        self.0.iter().map(with_forecast).collect()
    }
}

fn row(event: &Event, quota: &Quota) -> QuotaRow {
    QuotaRow {
        source: event.origin.as_ref().map(|origin| origin.source.to_owned()),
        name: quota.name.to_string(),
        window_minutes: quota.window.map(|window| window.as_mins()),
        used_percent: quota.used_percent,
        at: known_time(event.at),
        resets_at: quota.resets_at,
        per_hour: None,
        empty_at: None,
        session: event.session.as_str().to_owned(),
        proof: Evidence::new(event.origin.as_ref(), event.kind.name()),
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_core::{Event, EventKind, Quota, SignedDuration, Timestamp};

    use super::{MAX_QUOTAS, Quotas};

    fn at(mins: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(mins)
    }

    fn stated(session: &str, mins: i64, name: &str, used_percent: f64) -> Event {
        let window = Some(SignedDuration::from_hours(5));
        let resets_at = Some(at(300));
        let quota = Quota { name: name.into(), used_percent, window, resets_at };
        Event::new(at(mins), session, EventKind::Quota(quota))
    }

    #[test]
    fn all_sessions_use_one_quota() {
        let mut quotas = Quotas::default();
        for (session, mins, percent) in [("a", 60, 40.0), ("b", 70, 50.0), ("a", 65, 45.0)] {
            quotas.observe(&stated(session, mins, "primary", percent));
        }
        let [row] = &quotas.rows()[..] else { panic!("one quota") };
        assert_eq!((&*row.session, row.used_percent, row.per_hour), ("b", 50.0, Some(60.0)));
        assert_eq!((row.empty_at, row.window_minutes), (Some(at(120)), Some(300)));
        assert_eq!(row.proof.event, "quota");
    }

    #[test]
    fn a_quota_that_starts_again_first_is_not_used_up() {
        let mut quotas = Quotas::default();
        quotas.observe(&stated("a", 200, "primary", 10.0));
        quotas.observe(&stated("a", 210, "primary", 11.0));
        assert_eq!(quotas.rows()[0].empty_at, None);
        quotas.observe(&stated("a", 301, "primary", 1.0));
        assert_eq!(quotas.rows()[0].per_hour, None);
    }

    #[test]
    fn few_quotas_are_kept() {
        let mut quotas = Quotas::default();
        for n in 0..100 {
            quotas.observe(&stated("a", n, &n.to_string(), 1.0));
        }
        assert_eq!(quotas.rows().len(), MAX_QUOTAS);
        assert_eq!(quotas.rows()[0].name, "68");
    }
}
