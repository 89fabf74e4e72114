//! Messages to the service manager that has started the program: systemd. Without one, and on
//! other systems, they go nowhere.

pub(crate) use self::imp::{alive, ready, reloading, stopping, watchdog_interval};

#[cfg(target_os = "linux")]
mod imp {
    use std::time::Duration;

    use sd_notify::NotifyState;

    /// Reports that the program has started, or has loaded its policy again.
    pub(crate) fn ready() {
        notify(&[NotifyState::Ready]);
    }

    /// Reports that the program loads its policy again.
    pub(crate) fn reloading() {
        let time = NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [NotifyState::Reloading].into_iter().chain(time).collect();
        notify(&states);
    }

    /// Reports that the program ends.
    pub(crate) fn stopping() {
        notify(&[NotifyState::Stopping]);
    }

    /// Reports that the program works.
    pub(crate) fn alive() {
        notify(&[NotifyState::Watchdog]);
    }

    /// Returns the interval between two calls of [`alive`]: half of the time without a call after
    /// which the service manager ends the program.
    pub(crate) fn watchdog_interval() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }

    fn notify(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(target: "watchkeeper::service", %error, "cannot notify systemd");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::time::Duration;

    pub(crate) const fn ready() {}

    pub(crate) const fn reloading() {}

    pub(crate) const fn stopping() {}

    pub(crate) const fn alive() {}

    pub(crate) const fn watchdog_interval() -> Option<Duration> {
        None
    }
}
