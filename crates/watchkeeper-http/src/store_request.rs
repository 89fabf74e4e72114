use hyper::Method;

/// A request about a store.
pub(crate) enum StoreRequest<B> {
    List,
    Add(B),
    Remove(String),
}

impl<B> StoreRequest<B> {
    /// Makes the request with this method. An empty id stands for all objects.
    pub(crate) fn new(id: &str, method: &Method, body: B) -> Self {
        match *method {
            Method::DELETE => Self::Remove(id.to_owned()),
            Method::POST => Self::Add(body),
            _ => Self::List,
        }
    }
}
