use watchkeeper_core::{Context, Fingerprint, Report, author::Place};

/// A number of events without progress, with the location of the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    n: u64,
    first: Option<Place>,
}

impl Count {
    pub(crate) fn is_zero(&self) -> bool {
        self.n == 0
    }

    /// Counts an event, and reports the number. `noun` names one event.
    pub(crate) fn add(&mut self, noun: &str, cx: &mut Context<'_>) {
        if self.n == 0 {
            self.first = cx.place();
        }
        self.n += 1;
        cx.report(Fingerprint::NONE, self.n, || {
            Report::new(format!("{} without progress", self.amount(noun)))
                .with("count", self.n)
                .since(self.first.as_ref().map(Place::evidence))
        });
    }

    /// Starts at zero, and resolves the finding.
    pub(crate) fn reset(&mut self, noun: &str, reason: &str, cx: &mut Context<'_>) {
        let before = std::mem::take(self);
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("progress after {}: {reason}", before.amount(noun)))
                .with("count", before.n)
        });
    }

    fn amount(&self, noun: &str) -> String {
        let plural = if self.n == 1 { "" } else { "s" };
        format!("{} {noun}{plural}", self.n)
    }
}
