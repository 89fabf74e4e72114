use crate::{Fingerprint, Level, Severity, detector::Used};

/// How many conditions of one stream may last at once; of more, the oldest is
/// forgotten.
pub(super) const MAX_EPISODES: usize = 32;

/// The conditions of one stream that last.
#[derive(Debug, Default)]
pub(crate) struct Episodes(
    #[expect(clippy::box_collection, reason = "most of very many streams have none")]
    Option<Box<Vec<Episode>>>,
);

#[derive(Debug)]
pub(super) struct Episode {
    pub(super) subject: Fingerprint,
    pub(super) measure: u64,
    severity: Severity,
    /// What its session had used when it was found.
    pub(super) used: Used,
}

impl Episodes {
    /// Notes how far a condition has come, and what its session has used. If there
    /// is something new to say, gives back how severe it is, and what had been
    /// used when it was found.
    pub(crate) fn raise(
        &mut self,
        subject: Fingerprint,
        measure: u64,
        levels: &[Level],
        inhibited: Option<Severity>,
        used: Used,
    ) -> Option<(Severity, Used)> {
        let reached = levels.iter().filter(|it| it.at <= measure).map(|it| it.severity).max();
        let reached = reached.filter(|it| inhibited.is_none_or(|inhibited| inhibited < *it));
        let open = self.0.iter_mut().flat_map(|it| it.iter_mut()).find(|it| it.subject == subject);
        if let Some(episode) = open {
            episode.measure = episode.measure.max(measure);
            let higher = reached.filter(|it| episode.severity < *it)?;
            episode.severity = higher;
            return Some((higher, episode.used));
        }
        let severity = reached?;
        let episodes = self.0.get_or_insert_default();
        if episodes.len() == MAX_EPISODES {
            episodes.remove(0);
        }
        episodes.push(Episode { subject, measure, severity, used });
        Some((severity, used))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How severe a condition is, if it is open.
    pub(crate) fn severity(&self, subject: Fingerprint) -> Option<Severity> {
        self.iter().find(|it| it.subject == subject).map(|it| it.severity)
    }

    /// Ends a condition. Gives back how far it came, and what had been used when
    /// it was found, if it was open.
    pub(crate) fn resolve(&mut self, subject: Fingerprint) -> Option<(u64, Used)> {
        let episodes = self.0.as_mut()?;
        let at = episodes.iter().position(|it| it.subject == subject)?;
        let ended = episodes.remove(at);
        if episodes.is_empty() {
            self.0 = None;
        }
        Some((ended.measure, ended.used))
    }

    /// The severest of them.
    pub(super) fn severest(&self) -> Option<Severity> {
        self.iter().map(|it| it.severity).max()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Episode> {
        self.0.iter().flat_map(|it| it.iter())
    }

    pub(super) fn take(&mut self) -> Vec<Episode> {
        self.0.take().map_or_else(Vec::new, |it| *it)
    }
}
