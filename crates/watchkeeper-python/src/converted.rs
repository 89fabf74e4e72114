//! Objects that JSON has no form for.

use pyo3::{
    Bound, PyAny, PyResult,
    types::{
        PyAnyMethods as _, PyByteArray, PyByteArrayMethods as _, PyBytes, PyBytesMethods as _,
        PyDict, PyFrozenSet, PyInt, PyList, PyMapping, PySet,
    },
};

use crate::{gate, text};

/// The form that is recorded of an object.
pub(crate) enum Converted<'py> {
    /// A text.
    Text(String),
    /// Another object.
    Object(Bound<'py, PyAny>),
}

/// Converts an object of any type. Runs code of the object. An `Exception` is ignored; other
/// exceptions pass on.
pub(crate) fn convert<'py>(value: &Bound<'py, PyAny>) -> PyResult<Converted<'py>> {
    if let Ok(int) = value.cast::<PyInt>() {
        // A key of a dictionary.
        return Ok(Converted::Text(text_of_integer(int)?));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Converted::Text(String::from_utf8_lossy(bytes.as_bytes()).into_owned()));
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(Converted::Text(String::from_utf8_lossy(&bytes.to_vec()).into_owned()));
    }
    let fields = match gate::enter() {
        Some(_inside) => text::ordinary(value.py(), fields(value))?.flatten(),
        None => None,
    };
    Ok(match fields {
        Some(fields) => Converted::Object(fields),
        None => Converted::Text(text::of_object(value)?),
    })
}

/// Returns the fields of a mapping, a dataclass or a Pydantic model, and the items of a set.
fn fields<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    if value.is_instance_of::<PySet>() || value.is_instance_of::<PyFrozenSet>() {
        // In order, since sets with the same items are equal.
        let mut items = Vec::new();
        for item in value.try_iter()? {
            let item = item?;
            items.push((text::of_object(&item)?, item));
        }
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        let items = items.into_iter().map(|(_, item)| item);
        return Ok(Some(PyList::new(py, items.collect::<Vec<_>>())?.into_any()));
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
pub(crate) fn text_of_integer(int: &Bound<'_, PyInt>) -> PyResult<String> {
    if let Ok(n) = int.extract::<i128>() {
        return Ok(n.to_string());
    }
    let Some(_inside) = gate::enter() else { return Ok(text::type_name(int)) };
    match text::ordinary(int.py(), int.call_method1("__format__", ("#x",)))? {
        Some(text) => text::of_object(&text),
        None => Ok(text::type_name(int)),
    }
}
