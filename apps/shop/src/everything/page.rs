//! The page in HTML, and its routes.
//!
//! Invariants: every text from elsewhere is escaped. The page is complete without its script, which
//! only replaces the parts again and again; it loads its files from this server alone.

use std::{
    fmt::{self, Write as _},
    future::{Ready, ready},
    sync::Arc,
};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gesta_http::{ApiRoute, Describe, Operation};
use serde_json::json;

use super::{
    picture::{FollowerState, Part, PartState, Picture},
    survey::Survey,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("refresh.js");

/// The files and calls that the page may use.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Path of the page.
pub(super) const PATH: &str = "/everything";

/// Returns the routes of the page.
pub(super) fn routes(survey: &Arc<Survey>) -> Vec<ApiRoute> {
    let (html, values) = (Arc::clone(survey), Arc::clone(survey));
    let page = move || {
        let survey = Arc::clone(&html);
        async move {
            let picture = survey.picture().await;
            PageOfAll(page(&picture))
        }
    };
    let state = move || {
        let survey = Arc::clone(&values);
        async move { StateOfAll(survey.picture().await) }
    };
    vec![
        ApiRoute::get(PATH, "Shows the state of all parts")
            .handle(page)
            .operation_id("showEverything"),
        ApiRoute::get("/everything/state.json", "Returns the state of all parts")
            .handle(state)
            .operation_id("getEverything"),
        ApiRoute::get("/everything/page.css", "Returns the style of the page")
            .handle(file(STYLE, "text/css; charset=utf-8"))
            .operation_id("getEverythingStyle"),
        ApiRoute::get("/everything/refresh.js", "Returns the script of the page")
            .handle(file(SCRIPT, "text/javascript; charset=utf-8"))
            .operation_id("getEverythingScript"),
    ]
}

/// The page at one moment.
struct PageOfAll(String);

impl IntoResponse for PageOfAll {
    fn into_response(self) -> Response {
        let value = HeaderValue::from_static;
        let headers = [
            (header::CONTENT_TYPE, value("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, value(POLICY)),
            (header::CACHE_CONTROL, value("no-store")),
        ];
        (headers, self.0).into_response()
    }
}

impl Describe for PageOfAll {
    fn describe(operation: &mut Operation<'_>) {
        let schema = json!({ "type": "string" });
        operation.answers_with(StatusCode::OK, "the page", "text/html", schema);
    }
}

/// The same for programs.
struct StateOfAll(Arc<Picture>);

impl IntoResponse for StateOfAll {
    fn into_response(self) -> Response {
        let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        (headers, Json(&*self.0)).into_response()
    }
}

impl Describe for StateOfAll {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers::<Picture>(StatusCode::OK, "the state of all parts");
    }
}

/// A file of the page.
struct PageFile {
    text: &'static str,
    media_type: &'static str,
}

fn file(
    text: &'static str,
    media_type: &'static str,
) -> impl Fn() -> Ready<PageFile> + Clone + Send + Sync {
    move || ready(PageFile { text, media_type })
}

impl IntoResponse for PageFile {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type))], self.text)
            .into_response()
    }
}

impl Describe for PageFile {
    fn describe(operation: &mut Operation<'_>) {
        operation.answers_with(StatusCode::OK, "the file", "*/*", json!({}));
    }
}

/// A text in which nothing is markup.
struct Escaped<'t>(&'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Returns the page.
fn page(picture: &Picture) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>The shop, part by part</title>\n\
         <link rel=\"stylesheet\" href=\"everything/page.css\">\n\
         <script src=\"everything/refresh.js\" defer></script>\n</head>\n<body>\n<header>\n\
         <h1>The shop, part by part</h1>\n",
    );
    let (summary, class) = summary(picture);
    html.push_str(&format!(
        "<p id=\"notice\" class=\"{class}\" role=\"status\">{}</p>\n",
        Escaped(&summary)
    ));
    html.push_str(
        "<nav><a href=\"docs\">Try the API</a> <a href=\"v1/events\">Events</a> \
         <a href=\"everything/state.json\">This page as JSON</a></nav>\n</header>\n<main>\n",
    );
    picture.parts.iter().for_each(|part| html.push_str(&section(part)));
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// Returns a sentence on all parts, and the worst state.
fn summary(picture: &Picture) -> (String, &'static str) {
    let parts = &picture.parts;
    let names = |state| {
        let names = parts.iter().filter(|part| part.state == state).map(|part| part.name);
        names.collect::<Vec<_>>().join(", ")
    };
    let (down, troubled) = (names(PartState::Down), names(PartState::Troubled));
    let text = match (down.as_str(), troubled.as_str()) {
        ("", "") => format!("All {} parts are up.", parts.len()),
        (down, "") => format!("Down: {down}. The other parts are up."),
        ("", troubled) => format!("In trouble: {troubled}. The other parts are up."),
        (down, troubled) => format!("Down: {down}. In trouble: {troubled}."),
    };
    let worst = parts.iter().map(|part| part.state).max().unwrap_or(PartState::Up);
    (text, worst.as_str())
}

fn section(part: &Part) -> String {
    let state = part.state.as_str();
    let mut html = format!(
        "<section class=\"{state}\">\n<div><h2>{}</h2><span class=\"state\">{state}</span></div>\n\
         <p class=\"place\"><code>{}</code></p>\n",
        Escaped(part.name),
        Escaped(&part.url),
    );
    if let Some(version) = &part.version {
        html.push_str(&format!("<p class=\"place\">{}</p>\n", Escaped(version)));
    }
    if let Some(error) = &part.error {
        html.push_str(&format!("<p class=\"error\">{}</p>\n", Escaped(error)));
    }
    if !part.figures.is_empty() {
        let figures = part.figures.iter().map(|figure| {
            format!("<dt>{}</dt><dd>{}</dd>\n", Escaped(figure.name), Escaped(&figure.value))
        });
        html.push_str(&format!("<dl>\n{}</dl>\n", figures.collect::<String>()));
    }
    if !part.followers.is_empty() {
        html.push_str(
            "<table>\n<tr><th scope=\"col\">name</th><th scope=\"col\">state</th>\
             <th scope=\"col\" class=\"number\">position</th>\
             <th scope=\"col\" class=\"number\">lag</th></tr>\n",
        );
        part.followers.iter().for_each(|follower| html.push_str(&row(follower)));
        html.push_str("</table>\n");
    }
    html.push_str("</section>\n");
    html
}

fn row(follower: &FollowerState) -> String {
    let FollowerState { name, state, position, lag, error: _ } = follower;
    let number =
        |number: &Option<u64>| number.map_or("–".to_owned(), |number| number.to_string());
    format!(
        "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
        Escaped(name),
        Escaped(state),
        number(position),
        number(lag),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(parts: Vec<Part>) -> Picture {
        Picture { parts }
    }

    #[test]
    fn the_page_names_every_part_with_its_state_and_error() {
        let store = Part::up("Event store", "postgres://db:5432/shop").figure("events", 7);
        let cache = Part::up("Cache", "redis://db").at_most(PartState::Down, "no answer");
        let html = page(&picture(vec![store, cache]));
        for expected in [
            "<section class=\"up\">",
            "<section class=\"down\">",
            "<dt>events</dt><dd>7</dd>",
            "<p class=\"error\">no answer</p>",
            "class=\"down\" role=\"status\">Down: Cache. The other parts are up.</p>",
        ] {
            assert!(html.contains(expected), "{expected} is not in {html}");
        }
    }

    #[test]
    fn a_follower_in_trouble_is_a_trouble_of_its_part() {
        let follower = FollowerState {
            name: "sales".to_owned(),
            state: "running",
            position: Some(7),
            lag: None,
            error: Some("no disk".to_owned()),
        };
        let part = Part::up("Read models", "sqlite:rows").followed_by(vec![follower]);
        assert_eq!(
            (part.state, part.error.as_deref()),
            (PartState::Troubled, Some("sales: no disk"))
        );
        let html = page(&picture(vec![part]));
        assert!(html.contains("<td class=\"number\">7</td><td class=\"number\">–</td>"), "{html}");
    }

    #[test]
    fn texts_of_others_are_no_markup_and_nothing_comes_from_elsewhere() {
        let error = "<script src=\"https://x.example\">";
        let html = page(&picture(vec![Part::up("a", "b").at_most(PartState::Down, error)]));
        assert!(html.contains("&lt;script src=&quot;https://x.example&quot;&gt;"), "{html}");
        let text =
            [html.replace("https://x.example", ""), STYLE.to_owned(), SCRIPT.to_owned()].concat();
        assert!(!text.contains("//x") && !text.contains("http"), "{text}");
    }
}
