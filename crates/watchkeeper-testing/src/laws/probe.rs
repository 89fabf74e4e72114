//! A wrapper that receives every event and checks the wrapped detector's promises.

use std::sync::{Arc, Mutex, PoisonError};

use watchkeeper_core::{Context, Detector, Event, Subscription};

use super::law::{Failure, Law};

/// The first broken promise of a detector.
pub(super) type BrokenPromise = Arc<Mutex<Option<Failure>>>;

/// Returns the first broken promise as an error.
pub(super) fn take(broken: &BrokenPromise) -> Result<(), Failure> {
    broken.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

/// A detector that receives events outside its subscription too.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    inner: Box<dyn Detector>,
    /// The `Debug` output of a new detector.
    pristine: Arc<str>,
    broken: BrokenPromise,
}

impl Probe {
    pub(super) fn new(inner: Box<dyn Detector>, broken: BrokenPromise) -> Self {
        let pristine = format!("{inner:?}").into();
        Self { inner, pristine, broken }
    }

    fn check_idle_state(&self) {
        if !self.inner.is_idle() {
            return;
        }
        let state = format!("{:?}", self.inner);
        if state != *self.pristine {
            self.record(Law::Resettable, || {
                let pristine = &self.pristine;
                format!(
                    "it is idle in the state\n\n{state}\n\nbut the state of a new one is\n\n\
                     {pristine}\n"
                )
            });
        }
    }

    fn record(&self, law: Law, message: impl FnOnce() -> String) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.get_or_insert_with(|| (law, message()));
    }
}

impl Detector for Probe {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        let subscription = self.inner.subscription();
        let set = if !subscription.events.contains(&event.kind) {
            Some("events")
        } else if self.inner.is_idle() && !subscription.start_events.contains(&event.kind) {
            Some("start events")
        } else {
            None
        };
        let before = set.map(|set| (set, format!("{:?}", self.inner)));
        self.inner.observe(event, cx);
        if let Some((set, before)) = before {
            let after = format!("{:?}", self.inner);
            if before != after {
                let name = event.kind.name();
                self.record(Law::Subscribed, || {
                    format!(
                        "`{name}` is not among the {set} of its subscription, and one changed the \
                         state\n\n{before}\n\nto\n\n{after}\n"
                    )
                });
            }
        }
        self.check_idle_state();
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.inner.wake(cx);
        self.check_idle_state();
    }

    fn subscription(&self) -> Subscription {
        self.inner.subscription().widened()
    }
}
