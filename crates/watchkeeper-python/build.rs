//! Enables `cfg(Py_GIL_DISABLED)` for builds without the interpreter lock.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
