//! The state of deliveries on disk: what each sink has accepted, and what it has yet to receive.
//!
//! Sessions can be read again, so a monitor needs no state of its detectors after a restart. It
//! needs to know which findings were delivered. For each sink of a policy, a [`FileLedger`]
//! stores the findings that wait and the ids of those that the sink has accepted. [`Cursors`]
//! store how far the session files were read. [`StateFolder`] contains both, for one monitor at
//! a time.

mod cursors;
mod history;
mod ledger;
mod private_file;
mod record;
mod record_file;
mod state_folder;
mod storage;

pub use self::{
    cursors::{Cursors, Place},
    history::{PastFinding, past_findings},
    ledger::FileLedger,
    private_file::{
        append_private_file, create_new_private_file, create_private_file, create_private_folder,
        open_private_file,
    },
    state_folder::{StateError, StateFolder},
    storage::{DiskStorage, Storage},
};
