//! URLs as etcd's flags take them: `http://host:port` and nothing behind.

use std::fmt;
use std::net::IpAddr;

/// An address that a flag gave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    host: String,
    port: u16,
}

/// What is wrong with a URL; completes the sentence that names the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// The scheme is not one that detcd serves.
    #[error("{0:?} must begin with http:// (TLS and unix sockets are not available)")]
    Scheme(String),
    /// Host or port is missing or malformed, or something follows them.
    #[error("{0:?} must be http://host:port with nothing behind")]
    Shape(String),
    /// A name stands where one listens.
    #[error("{0:?} must have an IP address or localhost as its host")]
    NotLocal(String),
    /// Nothing was given.
    #[error("at least one URL is wanted")]
    Empty,
}

impl Url {
    /// Parses one URL.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim();
        let rest = text.strip_prefix("http://").ok_or_else(|| UrlError::Scheme(text.into()))?;
        let shape = || UrlError::Shape(text.into());
        let (host, port) = rest.rsplit_once(':').ok_or_else(shape)?;
        let port = port.parse().map_err(|_| shape())?;
        let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let host_ok = match bare {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
        };
        if !host_ok {
            return Err(shape());
        }
        Ok(Url { host: bare.unwrap_or(host).into(), port })
    }

    /// Parses a list with commas between, sorted; at least one.
    pub fn parse_list(text: &str) -> Result<Vec<Url>, UrlError> {
        let mut urls =
            text.split(',').filter(|part| !part.trim().is_empty()).map(Url::parse).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(UrlError::Empty);
        }
        urls.sort();
        urls.dedup();
        Ok(urls)
    }

    /// Like [`Url::parse_list`], for addresses to listen on: an IP address or `localhost`.
    pub fn parse_list_to_bind(text: &str) -> Result<Vec<Url>, UrlError> {
        let urls = Url::parse_list(text)?;
        match urls.iter().find(|url| url.host != "localhost" && url.host.parse::<IpAddr>().is_err()) {
            Some(url) => Err(UrlError::NotLocal(url.to_string())),
            None => Ok(urls),
        }
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_reads_back_as_it_was_given() {
        for text in ["http://localhost:2380", "http://10.0.0.1:1", "http://[::1]:2379", "http://my-host.example:80"] {
            assert_eq!(Url::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn malformed_urls_are_refused() {
        for text in ["", "localhost:2380", "https://a:1", "unix://a:1", "ftp://a:1"] {
            assert!(matches!(Url::parse(text), Err(UrlError::Scheme(_))), "{text}");
        }
        for text in ["http://", "http://a", "http://:1", "http://a:", "http://a:x", "http://a:70000", "http://a:1/p"] {
            assert!(matches!(Url::parse(text), Err(UrlError::Shape(_))), "{text}");
        }
        assert!(matches!(Url::parse("http://::1:2379"), Err(UrlError::Shape(_))));
    }

    #[test]
    fn one_listens_on_addresses_and_not_on_names() {
        assert!(Url::parse_list_to_bind("http://localhost:1,http://0.0.0.0:2,http://[::]:3").is_ok());
        assert!(matches!(Url::parse_list_to_bind("http://example.com:1"), Err(UrlError::NotLocal(_))));
        assert_eq!(Url::parse_list_to_bind(" , "), Err(UrlError::Empty));
    }

    #[test]
    fn lists_are_sorted_and_free_of_duplicates() {
        let urls = Url::parse_list("http://b:2,http://a:1,http://b:2").expect("a list");
        assert_eq!(urls.iter().map(Url::to_string).collect::<Vec<_>>(), ["http://a:1", "http://b:2"]);
    }
}
