mod decision;
mod grouping;
mod memory;
mod route;
mod router;
mod silenced;
#[cfg(test)]
mod tests;
mod waiting;

pub use self::{
    grouping::{GroupField, Grouping, ParseGroupFieldError},
    route::{Route, Routes},
    router::{Routed, Router, Sending},
};
