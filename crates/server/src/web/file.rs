//! What `web.yml` says, read strictly: the parts that are no certificates are checked to the end here.

use std::path::PathBuf;

use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use bcrypt::HashParts;
use hostwatch_daemon::Secret;
use hostwatch_daemon::settings::{Document, Environment, Located, Mistakes, Table};

use super::tls::TlsSettings;
use super::witness::Witness;

/// The headers that may be set, and the values of those that have but a few.
const HEADERS: [(&str, HeaderName, &[&str]); 5] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY, &[]),
    ("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY, &[]),
    ("X-Content-Type-Options", X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-Frame-Options", X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-XSS-Protection", X_XSS_PROTECTION, &[]),
];

/// What a hash may cost, as the exponent that it holds: above this a single wrong password takes half a minute.
const MAX_COST: u32 = 18;

/// A `web.yml` whose certificates have not been looked at.
pub(super) struct WebFile {
    /// `tls_server_config`
    pub(super) tls: Option<TlsSettings>,
    /// `basic_auth_users`: names and hashes, with what each hash costs.
    pub(super) users: Vec<(String, Secret, u32)>,
    /// `http_server_config.headers`
    pub(super) headers: HeaderMap,
}

impl WebFile {
    /// `None` when there is nothing to read, which is a mistake too.
    pub(super) fn read(file: &Located<PathBuf>, witness: &mut Witness, mistakes: &Mistakes) -> Option<Self> {
        let path = &file.value;
        let text = witness.read(path).map_err(|error| error.to_string());
        let text = text.and_then(|text| String::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned()));
        let text = text
            .map_err(|error| mistakes.add(&file.place, format_args!("{} cannot be read: {error}", path.display())))
            .ok()?;
        let document = Document::parse_yaml(path, &text, mistakes);
        if document.is_empty() {
            // An editor may empty a file before it writes it, which must not open the door to everybody.
            mistakes.add_file(path, "is empty; to do without it, take web.config_file out of server.toml");
            return None;
        }
        let environment = Environment::none();
        let mut root = document.root(&environment, mistakes);
        root.refuse("rate_limit", "is not honoured here: 512 connections are served at once, and 4 pages made");
        let has_tls = root.has("tls_server_config");
        let tls = root.table("tls_server_config").filter(|_| has_tls);
        let tls = tls.and_then(|table| TlsSettings::read(table, path));
        let headers = root.table("http_server_config").map(read_http).unwrap_or_default();
        let users = read_users(&mut root);
        root.finish();
        Some(Self { tls, users, headers })
    }
}

fn read_http(mut table: Table<'_>) -> HeaderMap {
    if table.boolean("http2").is_some_and(|http2| http2.value) {
        let what = "HTTP/2 is not served here; write false, or leave it out";
        table.mistakes().add(&table.place_of("http2"), what);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in table.string_map("headers") {
        let Some((_, header, values)) = HEADERS.iter().find(|(known, ..)| *known == name.value) else {
            let known = HEADERS.map(|(known, ..)| known).join(", ");
            let what = format!("is not a header that can be set; allowed here: {known}");
            table.mistakes().add(&name.place, what);
            continue;
        };
        if !values.is_empty() && !values.contains(&&*value.value) {
            let what = format!("{:?} is not a value of this header; write {}", value.value, values.join(" or "));
            table.mistakes().add(&value.place, what);
            continue;
        }
        match HeaderValue::from_str(&value.value) {
            // As in exporter-toolkit, a blank one is not set.
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                headers.insert(header, text);
            }
            Err(_) => table.mistakes().add(&value.place, "has characters that no header can hold"),
        }
    }
    table.finish();
    headers
}

fn read_users(root: &mut Table<'_>) -> Vec<(String, Secret, u32)> {
    let mut users = Vec::new();
    for (name, hash) in root.string_map("basic_auth_users") {
        if name.value.is_empty() || name.value.contains(':') {
            root.mistakes().add(&name.place, "is not a name that a user can log in with: it is empty or has a colon");
        }
        // No message repeats the hash: it may be a password that somebody wrote there as it is.
        match hash.value.parse::<HashParts>().map(|parts| parts.get_cost()) {
            Ok(cost @ 4..=MAX_COST) => users.push((name.value, Secret::new(hash.value), cost)),
            Ok(cost) => {
                let what = format!("a hash of cost {cost} takes too long or is too weak; allowed is 4 to {MAX_COST}");
                root.mistakes().add(&hash.place, what);
            }
            Err(_) => {
                let what = "is not a bcrypt hash; `htpasswd -nBC 10 USER` makes one, such as \"$2y$10$…\"";
                root.mistakes().add(&hash.place, what);
            }
        }
    }
    // With another mistake the list may be empty because of it.
    if users.is_empty() && root.has("basic_auth_users") && root.mistakes().is_empty() {
        let what = "names no user, so that nobody had to log in; leave it out if that is meant";
        root.mistakes().add(&root.place_of("basic_auth_users"), what);
    }
    users
}
