//! Policy tests: run a policy over a session in virtual time, and compare the
//! findings with the expected ones.

mod difference;
mod outcome;
mod playing;
mod scenarios;
mod test_files;

pub(crate) use self::{
    outcome::{Setup, TestOutcome, TestResult, TestResults, TestsError},
    scenarios::run_scenarios,
    test_files::run_test_file,
};
