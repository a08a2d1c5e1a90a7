//! The page that shows the endpoints, without scripts: HTML made from the table.
//!
//! Invariant: every text is escaped.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    endpoint::{Endpoint, Given},
    openapi::method,
    parameters::ParameterIn,
    problem::ProblemCode,
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;\
    padding:0 1em;overflow-wrap:break-word}h1{font-size:2em}h2{font-size:1.6em;margin-top:2em}\
    h3{font-size:1.25em;margin-top:2em;border-top:1px solid #8884;padding-top:1em}\
    code,pre{font-family:ui-monospace,monospace;font-size:.9em}h3 code{font-size:1em}\
    pre{background:#8881;padding:1em;overflow:auto;line-height:1.4}pre code{font-size:1em}\
    table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;\
    padding:.3em 1em .3em 0}td:last-child{overflow-wrap:anywhere;min-width:8em}\
    nav ul{columns:2;padding-left:1em}nav li{margin:.2em 0}details{margin:1em 0}\
    @media(max-width:40em){nav ul{columns:1}}";

/// The part before the endpoints: how to reach the server, and what holds for all of them.
const BEGIN: &str = "<h2 id=\"calls\">How to call it</h2>\
    <pre>export GESTA=http://127.0.0.1:2113\ncurl \"$GESTA/v1/head\"</pre>\
    <p>The examples need curl 7.82 or later, for <code>--json</code>. A body is JSON in UTF-8, with \
    <code>Content-Type: application/json</code>.</p>\
    <h2 id=\"users\">Users</h2>\
    <p>A server with users speaks TLS and wants one of three proofs with each request: a login and \
    a password, a bearer token (JWT), or a client certificate.</p>\
    <pre>export GESTA=https://localhost:2113\n\
    curl --cacert certs/ca.pem --user LOGIN:PASSWORD \"$GESTA/v1/head\"\n\
    curl --cacert certs/ca.pem -H 'Authorization: Bearer TOKEN' \"$GESTA/v1/head\"\n\
    curl --cacert certs/ca.pem --cert user-ann.pem --key user-ann.key \"$GESTA/v1/head\"</pre>\
    <p>Without a proof the answer is 401 <code>unauthenticated</code>, and without the right \
    403 <code>denied</code>. The access list of a stream says who reads and appends; the whole \
    store, queries and conditions need the right to read <code>$all</code>, and names of streams \
    that to <code>$streams</code>. A server that was started with <code>--insecure</code> has no \
    users and answers on loopback only.</p>\
    <h2 id=\"limits\">Limits</h2><table>\
    <tr><td>events or names in an answer<td>1,000, and about 8 MiB; 100 without <code>limit</code>\
    </tr><tr><td>body of an append<td>48 MiB</tr>\
    <tr><td>other bodies<td>1 MiB</tr>\
    <tr><td>an event<td>16 MiB, or the store's own limit (<code>GET /v1/store</code>)</tr>\
    <tr><td>an append<td>32 MiB, to at most 1,000 streams</tr>\
    <tr><td>subscriptions of a WebSocket<td>20</tr>\
    <tr><td>positions and revisions<td>below 2<sup>53</sup></tr>\
    <tr><td>time until an append is answered<td>60 seconds</tr></table>";

/// Returns the page.
pub(super) fn page(endpoints: &[Endpoint], openapi: &Value) -> String {
    let about = openapi.pointer("/info/description").and_then(Value::as_str);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Gesta: HTTP interface</title><style>{STYLE}</style>\
         <h1>Gesta: HTTP interface</h1><p>{}</p>\
         <p>For tools: the <a href=\"/v1/openapi.json\">OpenAPI document</a>.</p>",
        prose(about.unwrap_or_default()),
    );
    push_contents(&mut html, endpoints);
    html.push_str(BEGIN);
    html.push_str("<h2 id=\"endpoints\">Endpoints</h2>");
    for endpoint in endpoints {
        push_endpoint(&mut html, endpoint);
    }
    html.push_str("<h2 id=\"codes\">Codes of problems</h2><table>");
    for code in ProblemCode::ALL {
        let (status, code, advice) = code.facts();
        let advice = prose(advice);
        // Writing to a text does not fail.
        let _ = write!(html, "<tr><td>{status}<td><code>{code}</code><td>{advice}</tr>");
    }
    html.push_str("</table><h2 id=\"schemas\">Schemas</h2>");
    let schemas = openapi.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.into_iter().flatten() {
        let json = serde_json::to_string_pretty(schema).unwrap_or_default();
        let _ = write!(
            html,
            "<details id=\"{name}\"><summary>{name}</summary><pre>{}</pre></details>",
            prose(&json),
        );
    }
    html
}

fn push_contents(html: &mut String, endpoints: &[Endpoint]) {
    html.push_str("<nav><h2>Contents</h2><ul>");
    for (id, title) in [("calls", "How to call it"), ("users", "Users"), ("limits", "Limits")] {
        let _ = write!(html, "<li><a href=\"#{id}\">{title}</a>");
    }
    for endpoint in endpoints {
        let (id, title) = (anchor(endpoint), title(endpoint));
        let _ = write!(html, "<li><a href=\"#{id}\"><code>{title}</code></a>");
    }
    html.push_str("<li><a href=\"#codes\">Codes of problems</a>");
    html.push_str("<li><a href=\"#schemas\">Schemas</a></ul></nav>");
}

/// Returns the method and the path.
fn title(endpoint: &Endpoint) -> String {
    format!("{} {}", method(endpoint.verb).to_uppercase(), escaped(endpoint.path))
}

/// Returns the id of an endpoint's section.
fn anchor(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split(|one: char| !one.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty() && *word != "v1");
    words.fold(method(endpoint.verb).to_owned(), |id, word| format!("{id}-{word}"))
}

fn push_endpoint(html: &mut String, endpoint: &Endpoint) {
    let (id, title, about) = (anchor(endpoint), title(endpoint), prose(endpoint.about));
    let example = escaped(endpoint.example);
    // Writing to a text does not fail.
    let _ = write!(
        html,
        "<h3 id=\"{id}\"><code>{title}</code></h3><p>{about}.</p><pre>{example}</pre>"
    );
    if let Some(body) = endpoint.takes {
        let name = body.schema;
        let _ = write!(html, "<p>Body: <a href=\"#{name}\">{name}</a></p>");
    }
    if !endpoint.parameters.is_empty() {
        html.push_str("<table>");
        for parameter in endpoint.parameters {
            let place = match parameter.place {
                ParameterIn::Path => "path",
                ParameterIn::Query => "query",
                ParameterIn::Header => "header",
            };
            let (name, about) = (parameter.name, prose(parameter.about));
            let _ = write!(html, "<tr><td><code>{name}</code><td>{place}<td>{about}</tr>");
        }
        html.push_str("</table>");
    }
    let _ = match endpoint.gives {
        Given::Json(name) => write!(html, "<p>Answer: <a href=\"#{name}\">{name}</a></p>"),
        Given::Nothing => write!(html, "<p>Answer: 204, without a body</p>"),
        Given::EventStream => write!(html, "<p>Answer: <code>text/event-stream</code></p>"),
        Given::Socket => write!(html, "<p>Answer: a WebSocket</p>"),
        Given::Document(media_type) => write!(html, "<p>Answer: <code>{media_type}</code></p>"),
    };
}

/// Returns a sentence whose names in backticks are code.
fn prose(text: &str) -> String {
    let escaped = escaped(text);
    let parts = escaped.split('`').enumerate();
    let marked = parts.map(|(nth, part)| match nth % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    });
    marked.collect()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::{openapi::document, table::ENDPOINTS};

    #[test]
    fn every_endpoint_every_code_and_every_schema_is_on_the_page() {
        let page = page(ENDPOINTS, &document(ENDPOINTS));
        for endpoint in ENDPOINTS {
            let verb = method(endpoint.verb).to_uppercase();
            assert!(page.contains(&format!("<code>{verb} {}</code></h3>", endpoint.path)));
            assert!(page.contains(&escaped(endpoint.example)), "{}", endpoint.path);
            let path = endpoint.path.split('{').next().unwrap();
            assert!(endpoint.example.contains(&format!("$GESTA{path}")), "{}", endpoint.path);
        }
        for code in ProblemCode::ALL {
            assert!(page.contains(&format!("<code>{}</code>", code.facts().1)), "{code:?}");
        }
        assert!(!page.contains('`'), "a name in backticks is code");
        let ids: Vec<_> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next()).collect();
        let unique: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "{ids:?}");
        for fragment in page.split("href=\"#").skip(1) {
            let name = fragment.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(prose("Set `a<b`."), "Set <code>a&lt;b</code>.");
    }
}
