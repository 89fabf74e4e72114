/// Returns the end of an error message that suggests a similar name.
pub(crate) fn similar_hint(similar: Option<&str>) -> String {
    similar.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
