use tokio::sync::watch;

/// The side of a server that stops it.
#[derive(Debug)]
pub(crate) struct Stop(watch::Sender<bool>);

/// The side of a connection that notices the stop.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn new() -> (Self, Stopping) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stopping(receiver))
    }

    pub(crate) fn stop(&self) {
        // Without a receiver, everything has ended already.
        let _ = self.0.send(true);
    }
}

impl Stopping {
    /// Waits until the server stops.
    pub(crate) async fn wait(mut self) {
        // An error means that the server was dropped.
        let _ = self.0.wait_for(|is_stopping| *is_stopping).await;
    }
}
