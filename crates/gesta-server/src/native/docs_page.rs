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
    padding:0 1em}code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#8881;padding:1em;\
    overflow:auto}table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;\
    padding:.2em 1em .2em 0}h2{margin-top:2em}details{margin:1em 0}";

/// Returns the page.
pub(super) fn page(endpoints: &[Endpoint], openapi: &Value) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Gesta</title>\
         <style>{STYLE}</style><h1>Gesta</h1><p>{}</p>\
         <p>The same as <a href=\"/v1/openapi.json\">OpenAPI document</a>.</p>",
        escaped(openapi.pointer("/info/description").and_then(Value::as_str).unwrap_or_default()),
    );
    for endpoint in endpoints {
        push_endpoint(&mut html, endpoint);
    }
    html.push_str("<h2>Codes of problems</h2><table>");
    for code in ProblemCode::ALL {
        let (status, code, advice) = code.facts();
        let advice = prose(advice);
        // Writing to a text does not fail.
        let _ = write!(html, "<tr><td>{status}<td><code>{code}</code><td>{advice}</tr>");
    }
    html.push_str("</table><h2>Schemas</h2>");
    let schemas = openapi.pointer("/components/schemas").and_then(Value::as_object);
    for (name, schema) in schemas.into_iter().flatten() {
        let json = serde_json::to_string_pretty(schema).unwrap_or_default();
        let _ = write!(
            html,
            "<details id=\"{name}\"><summary>{name}</summary><pre>{}</pre></details>",
            escaped(&json),
        );
    }
    html
}

fn push_endpoint(html: &mut String, endpoint: &Endpoint) {
    let verb = method(endpoint.verb).to_uppercase();
    let (path, about) = (escaped(endpoint.path), prose(endpoint.about));
    // Writing to a text does not fail.
    let _ = write!(html, "<h2><code>{verb} {path}</code></h2><p>{about}.</p>");
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
            assert!(page.contains(&format!("<code>{verb} {}</code>", endpoint.path)));
        }
        for code in ProblemCode::ALL {
            assert!(page.contains(&format!("<code>{}</code>", code.facts().1)), "{code:?}");
        }
        for fragment in page.split("href=\"#").skip(1) {
            let name = fragment.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        assert_eq!(escaped("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(prose("Set `a<b`."), "Set <code>a&lt;b</code>.");
    }
}
