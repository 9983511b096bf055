//! Request headers as they arrived, fit for JSON: names in lower case, in the order of arrival, a list of values each.
//! Values are bytes on the wire and Latin-1 here, so every byte can be told from every other.

use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::latin1;

/// The headers of one request, in the order in which their names first arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<String>)>);

impl Headers {
    /// The headers of a request. HTTP/2's `:authority` stands as `host`, as HTTP/1.1 calls it.
    pub(crate) fn of(request: &Parts) -> Self {
        let mut headers = Self::default();
        if let Some(authority) = request.uri.authority()
            && !request.headers.contains_key(header::HOST)
        {
            headers.add(header::HOST.as_str(), authority.as_str().as_bytes());
        }
        headers.extend(&request.headers);
        headers
    }

    /// These headers, or trailers.
    pub(crate) fn of_map(map: &HeaderMap) -> Self {
        let mut headers = Self::default();
        headers.extend(map);
        headers
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of a header; `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// All values of a header in their order, none if it is absent; `name` in lower case.
    pub fn all(&self, name: &str) -> &[String] {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map_or(&[], |(_, values)| values)
    }

    /// All names and their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0
            .iter()
            .map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Puts `substitute` wherever a value holds `secret`.
    pub(crate) fn hide(&mut self, secret: &str, substitute: &str) {
        if secret.is_empty() {
            return;
        }
        for value in self.0.iter_mut().flat_map(|(_, values)| values) {
            if value.contains(secret) {
                *value = value.replace(secret, substitute);
            }
        }
    }

    fn extend(&mut self, map: &HeaderMap) {
        for (name, value) in map {
            self.add(name.as_str(), value.as_bytes());
        }
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        let value = latin1(value);
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name.to_owned(), vec![value])),
        }
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, values) in &self.0 {
            map.serialize_entry(name, values)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Headers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of header names and lists of values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::default();
                while let Some(entry) = map.next_entry()? {
                    headers.0.push(entry);
                }
                Ok(headers)
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
