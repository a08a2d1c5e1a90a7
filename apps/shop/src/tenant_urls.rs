//! URLs of places that each tenant has for itself.
//!
//! Invariant: the places of two tenants are different, because the id of the tenant is where an
//! engine takes the name of a place from, and the id ends there. Not here: the places of a shop
//! without tenants.

use gesta::TenantId;

/// The text that stands for the id of the tenant.
const TENANT: &str = "{tenant}";
/// Beginnings of URLs with a parameter that names the place, and the parameter.
const PLACE_PARAMETERS: [(&str, &str); 2] = [("postgres", "schema"), ("redis", "prefix")];
/// Schemes of places that each opening has for itself.
const IN_MEMORY: [&str; 2] = ["memory:", "moka:"];

/// Returns the URL of a tenant's place, or the URL itself without a tenant. An error does not
/// repeat the URL.
pub(crate) fn of_tenant(url: &str, tenant: Option<&TenantId>) -> Result<String, String> {
    let Some(tenant) = tenant else {
        return match url.contains(TENANT) {
            true => Err("the URL has `{tenant}`; name the tenant with --tenant".to_owned()),
            false => Ok(url.to_owned()),
        };
    };
    if IN_MEMORY.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(url.to_owned());
    }
    let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
    if !path_of(place).contains(TENANT) && !parameter_of(place, parameters).contains(TENANT) {
        return Err(
            "each tenant needs a place of its own: write `{tenant}` into the path, or into \
                    the parameter `schema` or `prefix`, as in gesta:./shop-data/{tenant}"
                .to_owned(),
        );
    }
    // `shop-a` must not be the beginning of a place of another tenant.
    let goes_on = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric());
    if url.split(TENANT).skip(1).any(goes_on) {
        return Err(
            "a letter or digit follows `{tenant}`; write a separator between them".to_owned()
        );
    }
    Ok(url.replace(TENANT, tenant.as_str()))
}

/// Returns the value of the parameter that names the place, or an empty text.
fn parameter_of<'u>(place: &str, parameters: &'u str) -> &'u str {
    let known = PLACE_PARAMETERS.iter().find(|(scheme, _)| place.starts_with(scheme));
    let Some((_, known)) = known else { return "" };
    let pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
    // The last one counts.
    pairs.rev().find(|(name, _)| name == known).map_or("", |(_, value)| value)
}

/// Returns the part of a URL, without its parameters, that is neither scheme, login nor host.
fn path_of(place: &str) -> &str {
    let rest = place.split_once(':').map_or(place, |(_, rest)| rest);
    match rest.strip_prefix("//") {
        Some(authority) => authority.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme(url: &str) -> Result<String, String> {
        of_tenant(url, Some(&"acme".parse().unwrap()))
    }

    #[test]
    fn the_id_stands_where_an_engine_takes_the_name_of_a_place_from() {
        for (url, expected) in [
            ("gesta:./data/{tenant}", "gesta:./data/acme"),
            ("gesta:./{tenant}/log?index=event-id", "gesta:./acme/log?index=event-id"),
            ("sqlite:{tenant}", "sqlite:acme"),
            ("postgres://a:b@db/{tenant}", "postgres://a:b@db/acme"),
            (
                "postgres://a:b@db/shop?schema=shop_{tenant}",
                "postgres://a:b@db/shop?schema=shop_acme",
            ),
            ("redis://db?prefix={tenant}", "redis://db?prefix=acme"),
            ("kafka://db:9092/shop-{tenant}?delivery=x", "kafka://db:9092/shop-acme?delivery=x"),
            ("memory:", "memory:"),
            ("moka:", "moka:"),
        ] {
            assert_eq!(acme(url).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_place_that_tenants_would_share_is_refused() {
        for url in [
            "gesta:./data",
            "postgres://a:secret@db/shop",
            "postgres://{tenant}:secret@db/shop",
            "postgres://{tenant}@db",
            "postgres://a:secret@db/shop?application_name={tenant}",
            "postgres://a:secret@db/shop?schema={tenant}&schema=shop",
            "redis://:{tenant}@db?prefix=shop",
            "redis://:secret@db?schema={tenant}",
            "mongodb://a:secret@db/shop?prefix={tenant}",
        ] {
            let error = acme(url).unwrap_err();
            let is_said = error.starts_with("each tenant needs a place of its own");
            assert!(is_said && !error.contains("secret"), "{url}: {error}");
        }
        for url in ["gesta:./{tenant}1", "dynamodb://eu/{tenant}data"] {
            assert!(acme(url).unwrap_err().starts_with("a letter or digit follows"), "{url}");
        }
        assert!(of_tenant("gesta:./{tenant}", None).is_err());
        assert_eq!(of_tenant("gesta:./data", None).as_deref(), Ok("gesta:./data"));
    }
}
