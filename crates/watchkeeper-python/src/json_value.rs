//! Python objects from JSON values.

use pyo3::{
    Bound, IntoPyObject as _, IntoPyObjectExt as _, Py, PyAny, PyResult, Python,
    types::{PyDict, PyDictMethods as _, PyList, PyListMethods as _},
};
use serde_json::{Map, Number, Value};

/// Converts a JSON value.
pub(crate) fn to_python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    match value {
        Value::Null => Ok(py.None()),
        Value::Bool(bool) => bool.into_py_any(py),
        Value::Number(number) => number_to_python(py, number),
        Value::String(text) => text.into_py_any(py),
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(to_python(py, value)?)?;
            }
            Ok(list.into_any().unbind())
        }
        Value::Object(map) => Ok(to_dict(py, map)?.into_any().unbind()),
    }
}

/// Converts a JSON object.
pub(crate) fn to_dict<'py>(
    py: Python<'py>,
    map: &Map<String, Value>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in map {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

fn number_to_python(py: Python<'_>, number: &Number) -> PyResult<Py<PyAny>> {
    if let Some(n) = number.as_i64() {
        return n.into_py_any(py);
    }
    match number.as_u64() {
        Some(n) => n.into_py_any(py),
        None => Ok(number.as_f64().into_pyobject(py)?.unbind()),
    }
}
