//! How a bucket is reached: by the environment variables that every tool for S3 knows. Nothing of it is in a file of the project.

use std::time::Duration;

use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
};

use super::requests::Counting;

const NO_CREDENTIALS: &str = "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of \
     this process (or AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, or the variables of a container's role)";

/// Where keys come from, if not from the two variables.
const OTHER_CREDENTIALS: &[&str] = &[
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
];

/// How long a request may take, and how often it is sent. Whoever wanted it tries again later, with a pause of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub connect_timeout: Duration,
    /// Of one request with its answer; the largest object is a table of a state, some tens of megabytes.
    pub timeout: Duration,
    /// After the first time.
    pub retries_max: usize,
    /// All of them together, and the pauses between them.
    pub retry_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(60),
            retries_max: 5,
            retry_timeout: Duration::from_secs(60),
        }
    }
}

/// The environment's variables that begin with `AWS_`, and the limits.
#[derive(Clone, Default)]
pub struct Settings {
    variables: Vec<(String, String)>,
    limits: Limits,
}

impl Settings {
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, limits: Limits) -> Self {
        let variables = variables.into_iter().filter(|(name, _)| name.starts_with("AWS_")).collect();
        Self { variables, limits }
    }

    pub fn from_environment() -> Self {
        let known = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::new(known, Limits::default())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    fn says_yes(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| ["true", "1", "yes", "on", "y"].contains(&&*value.to_ascii_lowercase()))
    }

    /// What stands in the way, and what to do about it.
    fn check(&self) -> Result<(), String> {
        let has = |name: &str| self.get(name).is_some();
        match (has("AWS_ACCESS_KEY_ID"), has("AWS_SECRET_ACCESS_KEY")) {
            (true, true) => {}
            (true, false) => return Err("AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not".into()),
            (false, true) => return Err("AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is not".into()),
            (false, false) => {
                if !self.says_yes("AWS_SKIP_SIGNATURE") && !OTHER_CREDENTIALS.iter().any(|name| has(name)) {
                    return Err(NO_CREDENTIALS.into());
                }
            }
        }
        for name in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"] {
            let plain = self.get(name).is_some_and(|url| url.to_ascii_lowercase().starts_with("http://"));
            if plain && !self.says_yes("AWS_ALLOW_HTTP") {
                return Err(format!(
                    "{name} is http://, by which everyone on the way can read: use https://, or set AWS_ALLOW_HTTP=true"
                ));
            }
        }
        Ok(())
    }

    /// Nothing is asked of the store yet.
    pub(super) fn open(&self, bucket: &str) -> Result<AmazonS3, String> {
        self.check()?;
        let Limits { connect_timeout, timeout, retries_max, retry_timeout } = self.limits;
        let options = ClientOptions::new().with_connect_timeout(connect_timeout).with_timeout(timeout);
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_client_options(options)
            .with_retry(RetryConfig { backoff, max_retries: retries_max, retry_timeout })
            .with_http_connector(Counting);
        for (name, value) in &self.variables {
            // Variables of other tools, and of things that the store has not, are none of ours.
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value.trim());
            }
        }
        builder.with_bucket_name(bucket).build().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")];

    fn problem(variables: &[(&str, &str)]) -> String {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::new(variables, Limits::default()).open("bucket").err().unwrap_or_default()
    }

    fn with_keys(variables: &[(&str, &str)]) -> String {
        problem(&[&KEYS, variables].concat())
    }

    #[test]
    fn what_is_missing_in_the_environment_is_named() {
        assert!(problem(&[]).contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
        assert!(problem(&[("AWS_ACCESS_KEY_ID", " ")]).contains("set AWS_ACCESS_KEY_ID and"));
        assert!(problem(&KEYS[..1]).contains("AWS_SECRET_ACCESS_KEY is not"));
        assert!(problem(&KEYS[1..]).contains("AWS_ACCESS_KEY_ID is not"));
        assert_eq!(with_keys(&[]), "");
        assert_eq!(problem(&[("AWS_SKIP_SIGNATURE", "true")]), "");
    }

    #[test]
    fn plain_http_must_be_allowed() {
        let http = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
        assert!(with_keys(&[http]).contains("set AWS_ALLOW_HTTP=true"));
        assert!(with_keys(&[http, ("AWS_ALLOW_HTTP", "false")]).contains("set AWS_ALLOW_HTTP=true"));
        assert_eq!(with_keys(&[http, ("AWS_ALLOW_HTTP", "true")]), "");
        assert_eq!(with_keys(&[("AWS_ENDPOINT_URL", "https://store.example")]), "");
    }

    #[test]
    fn variables_of_others_are_left_alone_and_wrong_ones_are_told() {
        assert_eq!(with_keys(&[("AWS_PAGER", ""), ("AWS_CA_BUNDLE", "x")]), "");
        assert!(with_keys(&[("AWS_CONDITIONAL_PUT", "perhaps")]).contains("perhaps"));
    }
}
