//! The files of Swagger UI, unpacked from the archive of its release when they are first asked for.

use std::{
    io::{Cursor, Read as _},
    sync::LazyLock,
};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// Returns the style sheet.
pub(crate) fn style() -> &'static [u8] {
    static STYLE: LazyLock<Vec<u8>> = LazyLock::new(|| unpack("/dist/swagger-ui.css"));
    &STYLE
}

/// Returns the script with all of its dependencies.
pub(crate) fn bundle() -> &'static [u8] {
    static BUNDLE: LazyLock<Vec<u8>> = LazyLock::new(|| unpack("/dist/swagger-ui-bundle.js"));
    &BUNDLE
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
        assert!(style().starts_with(b".swagger-ui{"));
        let bundle = str::from_utf8(bundle()).unwrap();
        assert!(bundle.contains("SwaggerUIBundle"));
    }
}
