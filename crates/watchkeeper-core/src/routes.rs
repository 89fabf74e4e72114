mod memory;
mod route;
mod router;
#[cfg(test)]
mod tests;
mod waiting;

pub use self::{
    route::{Route, Routes},
    router::{Routed, Router},
};
