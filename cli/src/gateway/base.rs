//! Where an agent's paths begin: what its url says behind the host takes the place of the request's `/v1`, as it does in
//! OpenAI's clients.

use super::url::Url;

/// The path of an agent's url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// As it is written: what is asked for where the request has nothing behind `/v1`.
    pub(crate) whole: String,
}

// === impl Base ===

impl Base {
    /// That of a url; none where nothing stands behind the host.
    ///
    /// # Errors
    /// One line that says why it cannot be one.
    pub(crate) fn of(url: &Url) -> Result<Option<Self>, String> {
        Self::parse(&url.path)
    }

    pub(super) fn parse(path: &str) -> Result<Option<Self>, String> {
        // The script that puts it into requests holds it in quotes.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$()*+,;=:@%".contains(&byte);
        let odd = |segment: &str| matches!(segment, "" | "." | "..");
        if path.contains('?') {
            return Err("holds a query; requests have their own".to_owned());
        }
        if path.len() > 1024 || !path.bytes().all(plain) {
            return Err(format!(
                "{path:?} is no beginning of paths: letters, digits and -._~!$()*+,;=:@% between slashes, at most 1024"
            ));
        }
        if matches!(path, "" | "/") {
            return Ok(None);
        }
        let lean = path.strip_prefix('/').unwrap_or(path);
        let lean = lean.strip_suffix('/').unwrap_or(lean);
        if lean.split('/').any(odd) {
            return Err(format!(
                "{path:?} holds an empty part, or one of dots, which servers read in different ways"
            ));
        }
        Ok(Some(Self {
            whole: path.to_owned(),
        }))
    }

    /// What stands before the rest of a path, which begins with a slash.
    pub(crate) fn prefix(&self) -> &str {
        self.whole.strip_suffix('/').unwrap_or(&self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::Base;

    fn parsed(path: &str) -> Result<Option<String>, String> {
        let base = Base::parse(path)?;
        Ok(base.map(|base| format!("{} {}", base.prefix(), base.whole)))
    }

    #[test]
    fn what_stands_behind_the_host_is_the_base() {
        for nothing in ["", "/"] {
            assert_eq!(parsed(nothing), Ok(None), "{nothing}");
        }
        assert_eq!(
            parsed("/openai/v1"),
            Ok(Some("/openai/v1 /openai/v1".to_owned()))
        );
        assert_eq!(parsed("/mcp/"), Ok(Some("/mcp /mcp/".to_owned())));
        for path in [
            "/a?b", "/a//b", "/a/../b", "/./a", "/a\"b", "/a'b", "/a\\b", "/a b", "/\u{e4}", "//a",
            "//",
        ] {
            assert!(parsed(path).is_err(), "{path}");
        }
        assert!(parsed(&format!("/{}", "a".repeat(1024))).is_err());
    }
}
