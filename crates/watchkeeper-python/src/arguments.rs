//! Arguments of tool calls as JSON text.

use pyo3::{
    Bound, PyAny, PyResult,
    types::{
        PyAnyMethods as _, PyBool, PyBytes, PyBytesMethods as _, PyDict, PyDictMethods as _,
        PyFloat, PyInt, PyList, PyListMethods as _, PyString, PyTuple, PyTupleMethods as _,
    },
};

use crate::text;

/// The deepest nesting that is recorded. Parsers of JSON accept 128 levels.
const MAX_DEPTH: usize = 100;
/// The largest text in bytes. An object that contains others several times can be much
/// larger as text than in memory.
const MAX_LEN: usize = 1 << 20;

/// Returns the JSON text of any object.
///
/// Objects that JSON has no form for become text: integers beyond 64 bits, NaN, bytes,
/// keys, and objects of other types. Containers that contain themselves, or are nested too
/// deeply, are cut.
pub(crate) fn to_json(arguments: &Bound<'_, PyAny>) -> String {
    let mut writer = Writer { json: String::with_capacity(256), depth: 0 };
    writer.value(arguments);
    writer.json
}

struct Writer {
    json: String,
    depth: usize,
}

impl Writer {
    fn value(&mut self, value: &Bound<'_, PyAny>) {
        if MAX_LEN < self.json.len() {
            self.string("\u{2026}");
        } else if let Ok(string) = value.cast::<PyString>() {
            self.string(&text::of_string(string));
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.nested(|writer| writer.object(dict));
        } else if let Ok(list) = value.cast::<PyList>() {
            self.nested(|writer| writer.array(list.to_tuple().iter()));
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.nested(|writer| writer.array(tuple.iter()));
        } else if value.is_none() {
            self.json.push_str("null");
        } else if let Ok(bool) = value.cast::<PyBool>() {
            self.json.push_str(if bool.is_truthy().unwrap_or_default() { "true" } else { "false" });
        } else if let Ok(int) = value.cast::<PyInt>() {
            self.integer(int);
        } else if let Ok(float) = value.cast::<PyFloat>() {
            self.float(float);
        } else {
            self.string(&other(value));
        }
    }

    fn nested(&mut self, write: impl FnOnce(&mut Self)) {
        if self.depth == MAX_DEPTH {
            self.string("\u{2026}");
            return;
        }
        self.depth += 1;
        write(self);
        self.depth -= 1;
    }

    fn object(&mut self, dict: &Bound<'_, PyDict>) {
        self.json.push('{');
        // A copy, because the text of an object can change the dictionary.
        let items = dict.items();
        for (idx, item) in items.iter().enumerate() {
            let Ok((key, value)) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() else {
                continue;
            };
            if 0 < idx {
                self.json.push(',');
            }
            self.key(&key);
            self.json.push(':');
            self.value(&value);
        }
        self.json.push('}');
    }

    fn key(&mut self, key: &Bound<'_, PyAny>) {
        match key.cast::<PyString>() {
            Ok(string) => self.string(&text::of_string(string)),
            Err(_) => self.string(&other(key)),
        }
    }

    fn array<'py>(&mut self, values: impl Iterator<Item = Bound<'py, PyAny>>) {
        self.json.push('[');
        for (idx, value) in values.enumerate() {
            if 0 < idx {
                self.json.push(',');
            }
            self.value(&value);
        }
        self.json.push(']');
    }

    fn integer(&mut self, int: &Bound<'_, PyInt>) {
        if let Ok(n) = int.extract::<i64>() {
            self.json.push_str(&n.to_string());
        } else if let Ok(n) = int.extract::<u64>() {
            self.json.push_str(&n.to_string());
        } else {
            self.string(&large_integer(int).unwrap_or_default());
        }
    }

    fn float(&mut self, float: &Bound<'_, PyFloat>) {
        match float.extract::<f64>() {
            Ok(number) if number.is_finite() => self.json.push_str(&format!("{number:?}")),
            Ok(number) => self.string(&number.to_string()),
            Err(_) => self.json.push_str("null"),
        }
    }

    fn string(&mut self, text: &str) {
        self.json.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// Returns an integer in hexadecimal: its decimal form takes quadratic time, and Python
/// refuses to make it.
fn large_integer(int: &Bound<'_, PyInt>) -> PyResult<String> {
    let text = int.call_method1("__format__", ("#x",))?;
    Ok(text::of_object(&text))
}

fn other(value: &Bound<'_, PyAny>) -> String {
    match value.cast::<PyBytes>() {
        Ok(bytes) => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
        Err(_) => text::of_object(value),
    }
}
