//! The files of Swagger UI, unpacked from the archive of its release when they are first asked for.

use std::{
    io::{Cursor, Read as _},
    sync::LazyLock,
};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

use crate::Asset;

pub(crate) const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLES: &str = "text/css; charset=utf-8";

/// Returns the style sheet.
pub(crate) fn style() -> Asset {
    static STYLE: LazyLock<Asset> =
        LazyLock::new(|| Asset::new(STYLES, unpack("/dist/swagger-ui.css")));
    STYLE.clone()
}

/// Returns the script with all of its dependencies.
pub(crate) fn bundle() -> Asset {
    static BUNDLE: LazyLock<Asset> =
        LazyLock::new(|| Asset::new(SCRIPT, unpack("/dist/swagger-ui-bundle.js")));
    BUNDLE.clone()
}

/// Unpacks the file whose path ends like this; the paths begin with the release's version.
fn unpack(end: &str) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("an archive");
    let at = archive.file_names_raw().position(|name| name.ends_with(end.as_bytes()));
    let mut file = archive.by_index(at.expect("every release has it")).expect("it was listed");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("the archive is part of the program");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_has_the_files_of_the_page() {
        assert!(unpack("/dist/swagger-ui.css").starts_with(b".swagger-ui{"));
        let bundle = unpack("/dist/swagger-ui-bundle.js");
        assert!(str::from_utf8(&bundle).unwrap().contains("SwaggerUIBundle"));
    }
}
