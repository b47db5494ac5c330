//! The pages for people: files of `console/`, as they are, embedded in the program.
//!
//! They are the same for everybody and hold nothing of the logs, so they need no token: what they show they ask of the API, as
//! every other client does.

use std::io::Write;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};

use super::access::hex;
use super::error::Refusal;

/// Nothing but what this node serves runs, is shown or asked; no page of another shows ours within it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file as it was written.
struct Source {
    name: &'static str,
    content: &'static [u8],
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(Source { name: $name, content: include_bytes!(concat!("console/", $name)) }),*]
    };
}

const PAGE: &str = "index.html";

const SOURCES: &[Source] = sources![
    "api.js",
    "console.css",
    "format.js",
    "html.js",
    "icon.svg",
    "index.html",
    "keys.js",
    "location.js",
    "main.js",
    "preferences.js",
    "rates.js",
    "shell.js",
    "store.js",
    "stream.js",
    "pages/alerts.js",
    "pages/analyses.js",
    "pages/explain.js",
    "pages/fault.js",
    "pages/faults.js",
    "pages/instance.js",
    "pages/instances.js",
    "pages/live.js",
    "pages/nodes.js",
    "parts/chart.js",
    "parts/copy.js",
    "parts/dialog.js",
    "parts/facts.js",
    "parts/handlers.js",
    "parts/items.js",
    "parts/level.js",
    "parts/moment.js",
    "parts/moves.js",
    "parts/problem.js",
    "parts/recording.js",
    "parts/report.js",
    "parts/scroll.js",
    "parts/sparkline.js",
    "parts/term.js",
    "parts/text.js",
    "vendor/htm.js",
    "vendor/preact-hooks.js",
    "vendor/preact.js",
    "vendor/uplot.css",
    "vendor/uplot.js",
    "pages/alerts/history.js",
    "pages/alerts/silences.js",
    "pages/analyses/candles.js",
    "pages/analyses/follow.js",
    "pages/analyses/plots.js",
    "pages/analyses/windows.js",
    "pages/explain/finding.js",
    "pages/explain/stretch.js",
    "pages/fault/decisions.js",
    "pages/fault/occurrences.js",
    "pages/fault/state.js",
    "pages/fault/times.js",
    "pages/instance/limits.js",
    "pages/instance/pace.js",
    "pages/instance/readers.js",
    "pages/instance/retention.js",
    "pages/instance/segments.js",
    "pages/live/bins.js",
    "pages/live/entry.js",
    "pages/live/filters.js",
    "pages/live/histogram.js",
    "pages/live/list.js",
    "pages/live/log.js",
    "pages/live/rows.js",
    "pages/nodes/history.js",
];

/// A file as it is sent.
struct Asset {
    source: &'static Source,
    media_type: &'static str,
    /// Changes with the content.
    tag: HeaderValue,
    compressed: Vec<u8>,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| SOURCES.iter().map(Asset::new).collect());

impl Asset {
    fn new(source: &'static Source) -> Self {
        let media_type = match source.name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/plain; charset=utf-8",
        };
        let sha256 = digest(&SHA256, source.content);
        let tag = hex(&sha256.as_ref()[..12]);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(source.content).expect("vectors take everything");
        Asset {
            source,
            media_type,
            tag: HeaderValue::from_str(&format!("\"{tag}\"")).expect("it is ASCII"),
            compressed: encoder.finish().expect("vectors take everything"),
        }
    }

    fn answer(&'static self, request: &HeaderMap) -> Response {
        let names = |name: header::HeaderName, wanted: &str| {
            let values = request.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
            let mut parts = values.flat_map(|value| value.split(','));
            parts.any(|part| part.split(';').next().is_some_and(|part| part.trim() == wanted))
        };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.media_type)),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // It is asked for again each time, and sent only if another version of the program has another.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            (header::ETAG, self.tag.clone()),
        ];
        if names(header::IF_NONE_MATCH, self.tag.to_str().expect("it is ASCII")) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        if names(header::ACCEPT_ENCODING, "gzip") {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            return (headers, encoding, self.compressed.as_slice()).into_response();
        }
        (headers, self.source.content).into_response()
    }
}

fn named(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.source.name == name)
}

/// The page.
pub(super) async fn page(headers: HeaderMap) -> Response {
    named(PAGE).expect("it is among the sources").answer(&headers)
}

/// What the page is made of.
pub(super) async fn file(
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let asset = named(&name).filter(|asset| asset.source.name != PAGE);
    Ok(asset.ok_or_else(|| Refusal::not_found("there is no such file"))?.answer(&headers))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Walks the directory; licences, and what only we need, is not served.
    #[test]
    fn every_file_of_the_console_is_embedded() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/api/console");
        let mut found = BTreeSet::new();
        let mut open = vec![root.clone()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).expect("it is there") {
                let path = entry.expect("it can be read").path();
                let name = path.strip_prefix(&root).expect("below").to_str().expect("text");
                let is_served = Path::new(name).extension().is_some_and(|ending| {
                    ["html", "js", "css", "svg"].iter().any(|it| ending == *it)
                });
                match path.is_dir() {
                    true if name != "tests" => open.push(path),
                    false if is_served => {
                        found.insert(name.to_owned());
                    }
                    _ => {}
                }
            }
        }
        let embedded: BTreeSet<_> = SOURCES.iter().map(|it| it.name.to_owned()).collect();
        assert_eq!(embedded, found);
        let bytes: usize = ASSETS.iter().map(|asset| asset.compressed.len()).sum();
        assert!(bytes <= 250 << 10, "the console weighs {bytes} bytes");
    }

    /// A browser asks again with the tag it has; a program may not know gzip.
    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let asset = named(PAGE).expect("the page");
        let ask = |pairs: &[(header::HeaderName, &HeaderValue)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), (*value).clone()));
            asset.answer(&pairs.collect())
        };
        assert_eq!(ask(&[(header::IF_NONE_MATCH, &asset.tag)]).status(), 304);
        let gzip = HeaderValue::from_static("br, gzip;q=0.8");
        let encoding = |answer: &Response| answer.headers().get(header::CONTENT_ENCODING).cloned();
        assert_eq!(
            encoding(&ask(&[(header::ACCEPT_ENCODING, &gzip)])),
            Some("gzip".parse().expect("a value"))
        );
        assert_eq!(encoding(&ask(&[])), None);
    }
}
