//! What to do about an error of an object store, where the store or the connection says what it is.

use std::{error::Error, fmt};

/// By what the error says, itself or by its causes.
const KNOWN: &[(&str, &str)] = &[
    (
        "NoSuchBucket",
        "the bucket is not there: make it, or correct the location (buckets are not made by this program)",
    ),
    ("InvalidAccessKeyId", "the store does not know AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is wrong, or something on the way changes requests"),
    ("RequestTimeTooSkewed", "the clocks of this machine and of the store differ: synchronise them"),
    ("AuthorizationHeaderMalformed", "set AWS_REGION to the store's region"),
    ("without LOCATION", "set AWS_REGION to the store's region, and AWS_ENDPOINT_URL to its address"),
    ("ExpiredToken", "the session token has expired: set a new AWS_SESSION_TOKEN"),
    (
        "AccessDenied",
        "this key may not do that here: give it a policy for listing the bucket, and for reading, writing and deleting below the \
         prefix",
    ),
    (
        "invalid peer certificate",
        "the store's certificate is not trusted on this machine: add its authority to the system's, or name it in SSL_CERT_FILE",
    ),
    (
        "dns error",
        "the name in AWS_ENDPOINT_URL is not known: correct it; with virtual hosts it begins with the bucket",
    ),
];

/// Written behind the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advice(Option<&'static str>);

impl Advice {
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if let Some((_, advice)) = KNOWN.iter().find(|(sign, _)| text.contains(sign)) {
                return Self(Some(advice));
            }
            if let Some(object_store::Error::NotSupported { .. }) = error.downcast_ref() {
                return Self(Some(""));
            }
            cause = error.source();
        }
        Self(None)
    }

    /// Somebody has to do something: the same call fails again until then.
    pub fn is_needed(self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(advice) if !advice.is_empty() => write!(f, ": {advice}"),
            _ => Ok(()),
        }
    }
}
