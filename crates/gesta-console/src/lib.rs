//! The web console of a server and of an application: its page, scripts and styles, included in the
//! binary.
//!
//! Owns: everything that a browser runs, in the folder `assets`: plain ES modules and one style
//! sheet, as they are written. There is no build step and no dependency.
//!
//! Invariants:
//! - The console asks the program's own HTTP interface and nothing else, so it works without a
//!   network and shows what its user may read. It asks first what the program is
//!   (`console/program`), and has the screens of that kind.
//! - Servers and applications are changed by acts of operators: each has a reason, where the
//!   program keeps one, and a destructive one needs a name to be typed. A button is there only for
//!   those who have the right.
//! - The assets are public and have no data. The proof of a user is a variable of the page: it is
//!   in no storage and no cookie, and a reload forgets it.
//! - Stored texts become text nodes, never markup. The policy ([`CONTENT_SECURITY_POLICY`]) permits
//!   no inline script, no inline style and no address of another origin.
//! - Stored numbers are shown digit by digit: `json.js` divides texts of JSON and does not read
//!   their numbers. What is shown at once is bounded, whatever the size and depth of an event.
//! - Every screen and every choice on it is an address: what follows `#`, which no proxy sees.
//!
//! Not here: routes, headers and the access check (`gesta-server`, `gesta-http`), the data and the
//! changes (their HTTP interfaces).
//!
//! The modules of the page, lowest first: `json` (JSON without loss), `api` (requests and the
//! sign-in), `dom` (elements), `time`, `route` (addresses), `table`, `payload` (data as a tree),
//! `events` (events in tables), `selection` (filters of events), `states` (links to states of
//! aggregates), `differences`, `dialog`, `work` (groups and projections of a server), `causes` (the
//! tree of an event), `acts` (changes and their dialog), `form` (acts with fields), `watch`
//! (screens that follow what they show), `program`, `frame`, `keys`, `sign-in`, `screens/…` (one
//! for each screen of a server; those about events are also an application's), `application/…` (the
//! other screens of an application), `server` and `application` (the screens of each), `app` (which
//! screen is shown).

/// The value of the header `Content-Security-Policy` that all assets need.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// A file of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asset {
    /// The path below that of the console, such as `screens/start.js`. The page itself has the
    /// empty path.
    pub path: &'static str,
    /// The value of the header `Content-Type`.
    pub content_type: &'static str,
    /// The content, in UTF-8.
    pub text: &'static str,
}

macro_rules! assets {
    ($($path:literal),* $(,)?) => {
        &[$(Asset {
            path: $path,
            content_type: content_type($path),
            text: include_str!(concat!("../assets/", $path)),
        },)*]
    };
}

const PAGE: Asset = Asset {
    path: "",
    content_type: content_type("index.html"),
    text: include_str!("../assets/index.html"),
};

static ASSETS: &[Asset] = assets![
    "acts.js",
    "api.js",
    "app.js",
    "application.js",
    "application/aggregate.js",
    "application/aggregates.js",
    "application/audit.js",
    "application/compare.js",
    "application/dead-letters.js",
    "application/instance.js",
    "application/parts.js",
    "application/process.js",
    "application/processes.js",
    "application/projection.js",
    "application/projections.js",
    "application/reactor.js",
    "application/reactors.js",
    "application/schema.js",
    "application/schemas.js",
    "application/set-aside.js",
    "application/start.js",
    "application/story.js",
    "application/try-letter.js",
    "causes.js",
    "dialog.js",
    "differences.js",
    "dom.js",
    "events.js",
    "form.js",
    "frame.js",
    "icon.svg",
    "json.js",
    "keys.js",
    "payload.js",
    "program.js",
    "route.js",
    "screens/append.js",
    "screens/audit.js",
    "screens/event.js",
    "screens/group-form.js",
    "screens/group.js",
    "screens/groups.js",
    "screens/lanes.js",
    "screens/live.js",
    "screens/operations.js",
    "screens/projection-form.js",
    "screens/projection.js",
    "screens/projections.js",
    "screens/query.js",
    "screens/start.js",
    "screens/stream-metadata.js",
    "screens/stream.js",
    "screens/streams.js",
    "screens/user-form.js",
    "screens/user.js",
    "screens/users.js",
    "selection.js",
    "server.js",
    "sign-in.js",
    "states.js",
    "style.css",
    "table.js",
    "time.js",
    "watch.js",
    "work.js",
];

/// Returns the media type of a file, by the end of its name.
const fn content_type(path: &str) -> &'static str {
    match path.as_bytes() {
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b's', b'v', b'g'] => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

/// Returns all files: the page first, then the others by their paths.
///
/// ```
/// let page = gesta_console::assets().next().unwrap();
/// assert_eq!((page.path, page.content_type), ("", "text/html; charset=utf-8"));
/// assert!(page.text.starts_with("<!doctype html>"));
/// ```
pub fn assets() -> impl Iterator<Item = Asset> {
    std::iter::once(PAGE).chain(ASSETS.iter().copied())
}

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
