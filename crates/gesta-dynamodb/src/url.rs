//! URLs of stores: `dynamodb://REGION/PREFIX?endpoint=URL`.
//!
//! Owns: the parameters and their checks. A URL has no credentials, so it can be printed. Not here:
//! credentials, which the standard chain of the vendor's client finds.

use std::{fmt, str::FromStr};

/// Longest prefix of table names, in bytes. Names of tables have at most 255.
const PREFIX_BYTES_MAX: usize = 200;

/// The URL of stores in DynamoDB.
///
/// `dynamodb://REGION/PREFIX`, with these parameters after `?`, joined by `&`:
///
/// | parameter | meaning | default |
/// | --- | --- | --- |
/// | `endpoint=URL` | the server, such as a VPC endpoint or an emulator | that of the region |
/// | `emulator=yes` | fixed credentials, which an emulator accepts; needs `endpoint` | no |
///
/// The tables are `PREFIX.events` and `PREFIX.read-models`. Credentials come from the standard
/// chain: environment, profile files, web identity, container, instance.
///
/// ```
/// use gesta_dynamodb::DynamoUrl;
///
/// let url: DynamoUrl = "dynamodb://eu-central-1/shop".parse()?;
/// assert_eq!(url.region(), "eu-central-1");
/// assert_eq!(url.to_string(), "dynamodb://eu-central-1/shop");
/// # Ok::<(), gesta_dynamodb::InvalidUrl>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoUrl {
    region: String,
    prefix: String,
    endpoint: Option<String>,
    is_emulator: bool,
}

/// The reason why a text is not the URL of a store.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// The text does not begin with `dynamodb://`.
    #[error("the URL must begin with dynamodb://, as in dynamodb://eu-central-1/shop")]
    Scheme,
    /// The region has other characters, or has a user before it.
    #[error(
        "the region must be lower-case letters, digits and `-`, as in \
         dynamodb://eu-central-1/shop; credentials do not belong in the URL"
    )]
    Region,
    /// The prefix is missing, too long or has other characters.
    #[error(
        "the prefix of the tables must be 1 to 200 letters, digits, `-`, `_` and `.`, as in \
         dynamodb://eu-central-1/shop"
    )]
    Prefix,
    /// The endpoint is not an address.
    #[error(
        "`endpoint` must be http://HOST:PORT or https://HOST:PORT, without a user, a path and \
         parameters"
    )]
    Endpoint,
    /// The value of `emulator` is not known, or the endpoint is missing.
    #[error("`emulator` must be `yes` or `no`, and `yes` needs an `endpoint`")]
    Emulator,
    /// The parameter is not known.
    #[error("unknown parameter `{name}`; expected `endpoint` or `emulator`")]
    Parameter {
        /// Name of the parameter.
        name: String,
    },
}

impl DynamoUrl {
    /// Returns the region, such as `eu-central-1`.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Returns the text that the names of all tables begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the address of the server, unless it is the region's own.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    pub(crate) const fn is_emulator(&self) -> bool {
        self.is_emulator
    }

    /// Returns the name of a table.
    pub(crate) fn table(&self, kind: &str) -> String {
        format!("{}.{kind}", self.prefix)
    }

    /// Returns the server for messages.
    pub(crate) fn server(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("DynamoDB in {}", self.region),
        }
    }
}

impl FromStr for DynamoUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let rest = text.strip_prefix("dynamodb://").ok_or(InvalidUrl::Scheme)?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (region, prefix) = place.split_once('/').unwrap_or((place, ""));
        if !has_only(region, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), "-") {
            return Err(InvalidUrl::Region);
        }
        let is_short = prefix.len() <= PREFIX_BYTES_MAX;
        if !is_short || !has_only(prefix, |byte| byte.is_ascii_alphanumeric(), "-_.") {
            return Err(InvalidUrl::Prefix);
        }
        let (mut endpoint, mut is_emulator) = (None, false);
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "endpoint" => endpoint = Some(address(value)?.to_owned()),
                "emulator" => is_emulator = yes_or_no(value)?,
                unknown => return Err(InvalidUrl::Parameter { name: unknown.to_owned() }),
            }
        }
        if is_emulator && endpoint.is_none() {
            return Err(InvalidUrl::Emulator);
        }
        Ok(Self { region: region.to_owned(), prefix: prefix.to_owned(), endpoint, is_emulator })
    }
}

fn has_only(text: &str, is_allowed: impl Fn(u8) -> bool, others: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| is_allowed(byte) || others.as_bytes().contains(&byte))
}

/// Checks an endpoint. The client would send a path along, and a user would be printed.
fn address(value: &str) -> Result<&str, InvalidUrl> {
    let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let host = host.ok_or(InvalidUrl::Endpoint)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric();
    if has_only(host, is_host, "-.:[]") { Ok(value) } else { Err(InvalidUrl::Endpoint) }
}

fn yes_or_no(value: &str) -> Result<bool, InvalidUrl> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(InvalidUrl::Emulator),
    }
}

impl fmt::Display for DynamoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dynamodb://{}/{}", self.region, self.prefix)?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, "?endpoint={endpoint}")?;
        }
        if self.is_emulator { f.write_str("&emulator=yes") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_printed_as_it_was_read() {
        for text in [
            "dynamodb://eu-central-1/shop",
            "dynamodb://local/Shop_1.test?endpoint=http://127.0.0.1:8000&emulator=yes",
            "dynamodb://us-east-1/a?endpoint=https://vpce-1.dynamodb.us-east-1.vpce.amazonaws.com",
        ] {
            assert_eq!(text.parse::<DynamoUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_part_is_named_and_not_repeated() {
        for (text, expected) in [
            ("postgres://eu/shop", InvalidUrl::Scheme),
            ("dynamodb:///shop", InvalidUrl::Region),
            ("dynamodb://KEY:secret@eu-central-1/shop", InvalidUrl::Region),
            ("dynamodb://eu-central-1", InvalidUrl::Prefix),
            ("dynamodb://eu-central-1/sh op", InvalidUrl::Prefix),
            ("dynamodb://eu/shop?endpoint=127.0.0.1:80", InvalidUrl::Endpoint),
            ("dynamodb://eu/shop?endpoint=http://a:b@host", InvalidUrl::Endpoint),
            ("dynamodb://eu/shop?emulator=yes", InvalidUrl::Emulator),
            ("dynamodb://eu/shop?emulator=perhaps", InvalidUrl::Emulator),
            ("dynamodb://eu/shop?key=1", InvalidUrl::Parameter { name: "key".to_owned() }),
        ] {
            let error = text.parse::<DynamoUrl>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
