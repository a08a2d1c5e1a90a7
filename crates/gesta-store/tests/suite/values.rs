//! Names that are rejected before any store sees them: empty, too long, or with a zero byte.

use std::fmt::{Debug, Display};

use gesta_store::{
    Category, CausationId, ContentType, CorrelationId, EventType, InvalidName, StreamName, Tag,
};

/// Expects three texts to be rejected, each with its reason.
fn refuses<T: Debug + Display>(what: &str, new: impl Fn(String) -> Result<T, InvalidName>) {
    let reason = |text: &str| new(text.to_owned()).expect_err("is no name").to_string();
    assert_eq!(reason(""), format!("{what} is empty"));
    assert_eq!(reason("a\0b"), format!("{what} has a zero byte at 1"));
    let long = reason(&"x".repeat(2_000));
    assert!(long.starts_with(&format!("{what} has 2000 bytes, more than the limit of")), "{long}");
    let unicode = new("注文 é".to_owned()).expect("any script will do");
    assert_eq!(unicode.to_string(), "注文 é");
}

#[test]
fn every_kind_of_name_is_refused_with_the_reason() {
    refuses("stream name", StreamName::new);
    refuses("category", Category::new);
    refuses("event type", EventType::new);
    refuses("tag", Tag::new);
    refuses("correlation id", CorrelationId::new);
    refuses("causation id", CausationId::new);
    refuses("content type", ContentType::new);
}
