//! Objects that JSON has no form for.

use pyo3::{
    Bound, PyAny, PyResult,
    types::{
        PyAnyMethods as _, PyByteArray, PyByteArrayMethods as _, PyBytes, PyBytesMethods as _,
        PyDict, PyFrozenSet, PyInt, PyMapping, PySet,
    },
};

use crate::text;

/// The form that is recorded of an object.
pub(crate) enum Converted<'py> {
    /// A text.
    Text(String),
    /// Another object.
    Object(Bound<'py, PyAny>),
}

/// Converts an object of any type. Runs code of the object, whose exceptions are ignored.
pub(crate) fn convert<'py>(value: &Bound<'py, PyAny>) -> Converted<'py> {
    if let Ok(int) = value.cast::<PyInt>() {
        // A key of a dictionary.
        return Converted::Text(text_of_integer(int));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Converted::Text(String::from_utf8_lossy(bytes.as_bytes()).into_owned());
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Converted::Text(String::from_utf8_lossy(&bytes.to_vec()).into_owned());
    }
    match fields(value) {
        Ok(Some(fields)) => Converted::Object(fields),
        _ => Converted::Text(text::of_object(value)),
    }
}

/// Returns the fields of a mapping, a dataclass or a Pydantic model, and the items of a set.
fn fields<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        // In order, since sets with the same items are equal.
        let mut items = value.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        items.sort_by_cached_key(text::of_object);
        return Ok(Some(pyo3::types::PyList::new(py, items)?.into_any()));
    }
    let class = value.get_type();
    if class.hasattr("model_dump")? {
        return value.call_method0("model_dump").map(Some);
    }
    if let Ok(names) = class.getattr("__dataclass_fields__") {
        let fields = PyDict::new(py);
        for name in names.try_iter()? {
            let name = name?;
            fields.set_item(&name, value.getattr(name.cast()?)?)?;
        }
        return Ok(Some(fields.into_any()));
    }
    if value.is_instance_of::<PyMapping>() {
        return py.get_type::<PyDict>().call1((value,)).map(Some);
    }
    Ok(None)
}

/// Returns the text of an integer, which is hexadecimal if the integer is large: the decimal
/// form takes quadratic time, and Python refuses to make long ones.
pub(crate) fn text_of_integer(int: &Bound<'_, PyInt>) -> String {
    if let Ok(n) = int.extract::<i128>() {
        return n.to_string();
    }
    let text = int.call_method1("__format__", ("#x",));
    text.map_or_else(|_| text::type_name(int), |text| text::of_object(&text))
}
