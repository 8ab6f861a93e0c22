//! A paged JSON interface: `{"items":[…],"next":"<cursor>"|null}`.
//!
//! Items are passed on as the text they arrived in. The cursor is the page to ask for next; at the end it stays on
//! the last page, which is asked for again, and what was sent of it is not sent twice by the same process.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use chrono::DateTime;
use reqwest::{Client, Response, StatusCode, header::RETRY_AFTER};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Error, HttpSource, Mode, State,
    config::without_secrets,
    intake::{Found, Intake},
};

#[derive(Debug, Default, Serialize, Deserialize)]
struct HttpCursor {
    /// What `cursor` the next request has. None asks from the beginning.
    page: Option<String>,
    items: u64,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
    next: Option<serde_json::Value>,
}

/// Reads page after page; at the end, in [`Mode::Follow`], asks again at the source's pace.
pub async fn pull(intake: &mut Intake, source: &HttpSource, mode: Mode) -> Result<(), Error> {
    let asker = Asker::new(source)?;
    let mut cursor: HttpCursor = intake.resume().await?.unwrap_or_default();
    let mut sent: HashSet<u64> = HashSet::new();
    let mut saved = true;
    loop {
        let body = intake.unless_stopped(asker.page(cursor.page.as_deref())).await?;
        intake.source_answers();
        let page: Page<'_> = serde_json::from_str(&body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            // The error's own text may quote the answer.
            asker.away(format!("its answer is not a page of items (line {line}, column {column})"), None)
        })?;
        intake.progress().set(State::Reading(asker.shown.clone()));
        let before = std::mem::take(&mut sent);
        for item in &page.items {
            let text = item.get().as_bytes();
            let print = xxh3_64(text);
            sent.insert(print);
            if before.contains(&print) {
                continue;
            }
            cursor.items += 1;
            saved = false;
            let found = Found {
                value: text,
                columns: None,
                source: &asker.shown,
                position: cursor.items,
                truncated: false,
            };
            intake.admit(found).await?;
        }
        let next = match page.next {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(next)) => Some(next),
            Some(other) => Some(other.to_string()),
        };
        let at_end = next.is_none() || next == cursor.page;
        if !at_end {
            cursor.page = next;
            sent.clear();
        }
        if !saved && (at_end || intake.is_stopping()) {
            intake.save(&cursor).await?;
            saved = true;
        } else {
            intake.save_if_due(&cursor).await?;
        }
        if intake.is_stopping() || (at_end && mode == Mode::Once) {
            return Ok(());
        }
        if at_end {
            intake.progress().set(State::Waiting);
            intake.pause(source.pace.poll).await?;
        }
    }
}

struct Asker<'a> {
    source: &'a HttpSource,
    client: Client,
    url: Url,
    shown: String,
}

impl<'a> Asker<'a> {
    fn new(source: &'a HttpSource) -> Result<Self, Error> {
        let shown = without_secrets(&source.url);
        let refused = |detail: String| Error::Refused {
            what: shown.clone(),
            detail,
            mend: "correct the url in the configuration",
        };
        let url = Url::parse(&source.url).map_err(|error| refused(error.to_string()))?;
        let client = Client::builder()
            .timeout(source.timeout)
            .user_agent("yibiao")
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { source, client, url, shown })
    }

    fn away(&self, detail: String, retry_after: Option<Duration>) -> Error {
        Error::Away { what: self.shown.clone(), detail, retry_after }
    }

    fn address(&self, cursor: Option<&str>) -> Url {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("limit", &self.source.page.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        url
    }

    async fn page(&self, cursor: Option<&str>) -> Result<String, Error> {
        let response = self.client.get(self.address(cursor)).bearer_auth(&self.source.token).send().await;
        let response = response.map_err(|error| self.away(chain(error.without_url()), None))?;
        match response.status() {
            status if status.is_success() => self.body(response).await,
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Error::Refused {
                what: self.shown.clone(),
                detail: format!("it answers {status}"),
                mend: "renew the token in the configuration, or ask the department for access",
            }),
            status
                if status.is_server_error()
                    || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) =>
            {
                Err(self.away(format!("it answers {status}"), retry_after(&response)))
            }
            status => Err(Error::Refused {
                what: self.shown.clone(),
                detail: format!("it answers {status}"),
                mend: "compare the url and the page size with the department's description of its interface",
            }),
        }
    }

    async fn body(&self, mut response: Response) -> Result<String, Error> {
        let limit = self.source.page_bytes_max;
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| self.away(chain(error.without_url()), None))?
        {
            if body.len() + chunk.len() > limit {
                return Err(Error::Refused {
                    what: self.shown.clone(),
                    detail: format!("a page of {} items is over {limit} bytes", self.source.page),
                    mend: "lower `page` or raise `page_bytes_max`",
                });
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| self.away("its answer is not UTF-8".into(), None))
    }
}

/// Seconds or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until: SystemTime = DateTime::parse_from_rfc2822(text).ok()?.into();
    until.duration_since(SystemTime::now()).ok()
}

/// The error with what caused it: reqwest's own text leaves that out.
fn chain(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
