//! Where Redis is, and how a connection comes about.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::in_words;
use crate::gateway::SYSTEM_CA;
use crate::pem;

/// Where it is, and as whom one speaks with it.
pub(in crate::limiter) struct Place {
    host: String,
    port: u16,
    settings: RedisConnectionInfo,
    /// Where the password stands, read for each connection.
    password: Option<PathBuf>,
    tls: Option<Tls>,
}

/// What TLS is spoken with.
#[derive(Clone)]
struct Tls(Arc<ClientConfig>);

impl Place {
    /// Takes `redis://` and `rediss://`, as Redis's and Valkey's own tools do.
    ///
    /// # Errors
    /// One line that says what is wrong, and repeats nothing of the url, which may hold a password.
    pub(in crate::limiter) fn parse(
        url: &str,
        password: Option<&Path>,
        ca: Option<&str>,
    ) -> Result<Self, String> {
        const SHAPE: &str =
            "expected redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS";
        let (secure, rest) = if let Some(rest) = url.strip_prefix("rediss://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("redis://") {
            (false, rest)
        } else {
            return Err(SHAPE.to_owned());
        };
        if rest.contains(['#', '?']) {
            return Err(SHAPE.to_owned());
        }
        let plain = format!("redis://{rest}");
        let info = plain.as_str().into_connection_info();
        let info = info.map_err(|_| SHAPE.to_owned())?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(SHAPE.to_owned());
        };
        if ca.is_some() && !secure {
            return Err("--redis-ca is for rediss://, which speaks TLS".to_owned());
        }
        Ok(Self {
            host: host.clone(),
            port: *port,
            settings: info.redis_settings().clone(),
            password: password.map(Path::to_owned),
            tls: if secure { Some(Tls::new(ca)?) } else { None },
        })
    }

    pub(super) async fn connect(
        &self,
        patience: Duration,
    ) -> Result<MultiplexedConnection, String> {
        let mut settings = self.settings.clone();
        if let Some(file) = &self.password {
            let password = fs::read_to_string(file);
            let password = password.map_err(|error| format!("{}: {error}", file.display()))?;
            settings = settings.set_password(password.trim_end_matches(['\r', '\n']));
        }
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        match &self.tls {
            None => begin(stream, &settings, patience).await,
            Some(Tls(configuration)) => {
                let name = ServerName::try_from(self.host.clone());
                let name = name.map_err(|error| error.to_string())?;
                let connector = TlsConnector::from(Arc::clone(configuration));
                let stream = connector.connect(name, stream).await;
                let stream = stream.map_err(|error| format!("TLS: {error}"))?;
                begin(stream, &settings, patience).await
            }
        }
    }
}

/// Without a password, or whose it is.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.contains(':') {
            write!(formatter, "Redis at [{host}]:{}", self.port)
        } else {
            write!(formatter, "Redis at {host}:{}", self.port)
        }
    }
}

impl Tls {
    /// `ca`: a file with those who may vouch for Redis, unless it is the system's.
    fn new(ca: Option<&str>) -> Result<Self, String> {
        let ca = ca.unwrap_or(SYSTEM_CA);
        let provider = Arc::new(rustls_graviola::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(pem::certificates(ca)?);
        if added == 0 {
            return Err(format!("{ca}: holds no certificate"));
        }
        let configuration = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(configuration)))
    }
}

async fn begin<S>(
    stream: S,
    settings: &RedisConnectionInfo,
    patience: Duration,
) -> Result<MultiplexedConnection, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let configuration = AsyncConnectionConfig::new().set_response_timeout(Some(patience));
    let made = MultiplexedConnection::new_with_config(settings, stream, configuration).await;
    let (connection, driver) = made.map_err(|error: RedisError| in_words(&error))?;
    tokio::spawn(driver);
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_passwords_not_shown() {
        let place = Place::parse("redis://me:s3cret@cache.internal:7000/2", None, None);
        let place = place.map_err(|_| ()).unwrap();
        assert_eq!(place.to_string(), "Redis at cache.internal:7000");
        assert_eq!(place.settings.db(), 2);
        assert_eq!(place.settings.username(), Some("me"));
        assert_eq!(place.settings.password(), Some("s3cret"));
        let usual = Place::parse("redis://[::1]", None, None)
            .map_err(|_| ())
            .unwrap();
        assert_eq!(usual.to_string(), "Redis at [::1]:6379");
        for wrong in [
            "http://s3cret@a",
            "a:6379",
            "redis://",
            "redis://:s3cret@a:x",
            "redis://a/x",
            "redis://a?s3cret",
        ] {
            let Err(said) = Place::parse(wrong, None, None) else {
                panic!("{wrong}");
            };
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
