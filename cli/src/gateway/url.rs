//! Where a service is: `http://10.0.0.5:8000`, `https://api.example.com`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use waykeeper::config::check_host;

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Whether it begins with `https`.
    pub(crate) secure: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// What follows the port, with the query; empty if nothing does.
    pub(crate) path: String,
}

/// Whom a connection is made to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name, in lower case.
    Name(String),
    Address(IpAddr),
}

// === impl Url ===

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// One line that says what is wrong. It repeats no user info, which may be a password.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (secure, rest) = scheme(text).ok_or_else(|| {
            "must begin with http:// or https://, such as \"http://10.0.0.5:8000\" or \"https://api.example.com\"".to_owned()
        })?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("holds user info in front of @, which has no place in a url".to_owned());
        }
        check_host(authority)?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (authority, Some(if secure { 443 } else { 80 })),
        };
        let host = Host::parse(host)?;
        let port = port.ok_or_else(|| format!("{authority:?} has no port from 1 to 65535"))?;
        if path.contains('#') {
            return Err("holds #, and what follows that never leaves a browser".to_owned());
        }
        Ok(Self {
            secure,
            host,
            port,
            path: path.to_owned(),
        })
    }

    /// What the service is called in requests: its host, with the port unless it is the usual one.
    pub(crate) fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        match self.port {
            port if port == usual => self.host.in_url(),
            port => format!("{}:{port}", self.host.in_url()),
        }
    }

    /// Its path as a request has it.
    pub(crate) fn request_path(&self) -> String {
        if self.path.starts_with('/') {
            self.path.clone()
        } else {
            format!("/{}", self.path)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn scheme(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some((false, rest)),
        "https" => Some((true, rest)),
        _ => None,
    }
}

// === impl Host ===

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            let address = inner.parse().map(IpAddr::V6);
            return address
                .map(Host::Address)
                .map_err(|_| format!("{text:?} is no IPv6 address"));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Host::Address(IpAddr::V4(address)));
        }
        // No name ends like this, and some resolvers read such a thing as an address, others as another one.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_hex = |text: &str| {
            text.strip_prefix("0x")
                .or(text.strip_prefix("0X"))
                .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        if is_number(last) || is_hex(last) {
            return Err(format!(
                "{text:?} is neither a name nor an IPv4 address, which is four numbers up to 255 without leading zeros"
            ));
        }
        Ok(Host::Name(text.to_ascii_lowercase()))
    }

    /// As an address of Envoy's has it, and a certificate: without brackets.
    pub(crate) fn bare(&self) -> String {
        match self {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        }
    }

    fn in_url(&self) -> String {
        match self {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            other => other.bare(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_port_and_path() {
        for (text, secure, host, port, path, authority) in [
            (
                "http://10.0.0.5:8000",
                false,
                "10.0.0.5",
                8000,
                "",
                "10.0.0.5:8000",
            ),
            ("http://agent", false, "agent", 80, "", "agent"),
            (
                "https://API.example.com/",
                true,
                "api.example.com",
                443,
                "/",
                "api.example.com",
            ),
            (
                "HTTPS://a:8443/v1?x=1",
                true,
                "a",
                8443,
                "/v1?x=1",
                "a:8443",
            ),
            ("http://a:443", false, "a", 443, "", "a:443"),
            (
                "https://[2001:DB8::1]",
                true,
                "2001:db8::1",
                443,
                "",
                "[2001:db8::1]",
            ),
            (
                "http://[::1]:8000?q",
                false,
                "::1",
                8000,
                "?q",
                "[::1]:8000",
            ),
            (
                "http://chat_gpu.agents:1",
                false,
                "chat_gpu.agents",
                1,
                "",
                "chat_gpu.agents:1",
            ),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (
                    url.secure,
                    url.host.bare(),
                    url.port,
                    url.path.as_str(),
                    url.authority()
                ),
                (secure, host.to_owned(), port, path, authority.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_url_is_told() {
        for (text, told) in [
            ("agent:8000", "must begin with http:// or https://"),
            ("ftp://a", "must begin with"),
            ("http:/a", "must begin with"),
            ("http://", "is no host"),
            ("http://a:0", "is no host"),
            ("http://a:65536", "is no host"),
            ("http://a:", "is no host"),
            ("http://a b", "is no host"),
            ("http://a{{b}}", "is no host"),
            ("http://a\n", "is no host"),
            ("http://::1", "is no host"),
            ("http://[::1", "is no host"),
            ("http://[fe80::1%eth0]", "is no host"),
            ("http://10.0.0.256", "is neither a name nor an IPv4 address"),
            ("http://10.0.0.010", "is neither a name nor an IPv4 address"),
            ("http://10.1", "is neither a name nor an IPv4 address"),
            ("http://0x7f000001", "is neither a name nor an IPv4 address"),
            (
                "http://2130706433:80",
                "is neither a name nor an IPv4 address",
            ),
            ("http://a/#b", "holds #"),
            ("http://me:secret@a", "holds user info"),
        ] {
            let message = Url::parse(text).unwrap_err();
            assert!(message.contains(told), "{text}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
