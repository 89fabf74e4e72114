use std::{process, sync::mpsc, thread, time::Duration};

use watchkeeper_core::clock::Deadline;

use super::log::Log;

/// The time for the log, which may be on a disk that does not answer.
const LOG_TIME: Duration = Duration::from_secs(1);

/// Ends the process after `limit`, since the client waits for it, and logs that it had no answer.
pub(crate) fn end_at_limit(limit: Duration, log: Log) {
    thread::spawn(move || {
        let deadline = Deadline::after(limit);
        while !deadline.remaining().is_zero() {
            thread::park_timeout(deadline.remaining());
        }
        let (sender, is_logged) = mpsc::channel();
        thread::spawn(move || {
            log.add(&format!("no answer within {limit:?}, the time limit: the agent goes on"));
            let _ = sender.send(());
        });
        let _ = is_logged.recv_timeout(LOG_TIME);
        process::exit(0);
    });
}
