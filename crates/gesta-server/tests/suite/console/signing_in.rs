//! The sign-in at a server with users: what a page keeps, and what each user sees.

use gesta_services::chromium::Page;

use crate::secured::Secured;

pub(super) async fn sign_in(page: &mut Page, login: &str, password: &str) {
    let script = format!(
        "document.querySelector('[name=login]').value = '{login}'; \
         document.querySelector('[name=password]').value = '{password}'; \
         document.querySelector('.sign-in form').requestSubmit()"
    );
    page.value(&script).await;
}

#[tokio::test]
async fn the_page_keeps_a_login_in_its_memory_alone() {
    let scene = Secured::start().await;
    let server = format!("https://localhost:{}", scene.address.port());
    let Some(mut page) = Page::open(&server).await else { return };
    page.load("#/start").await;
    assert!(page.text().await.contains("Sign in"), "{}", page.text().await);
    sign_in(&mut page, "admin", "wrong").await;
    page.until("document.querySelector('.sign-in [role=alert]')").await;
    sign_in(&mut page, "admin", scene.passwords.admin()).await;
    page.until("document.querySelector('main').dataset.state === 'ready'").await;
    let text = page.text().await;
    assert!(text.contains("No problems") && text.contains("TLS and users"), "{text}");
    assert!(
        page.value("document.querySelector('.user').innerText")
            .await
            .as_str()
            .unwrap()
            .contains("admin")
    );
    page.picture("signed-in").await;
    let kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])";
    assert_eq!(page.value(kept).await, r#"[{"gesta-theme":"auto"},{},""]"#);
    page.load("#/start").await;
    assert!(page.text().await.contains("Sign in"), "a reload forgets the login");
    // The refusals are on the console of the browser, and nothing else is.
    let refused = page.errors.iter().filter(|error| error.contains("401")).count();
    assert!(refused > 0 && refused == page.errors.len(), "{:#?}", page.errors);
}

#[tokio::test]
async fn a_user_without_rights_sees_what_is_permitted_and_why_the_rest_is_not() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let server = format!("https://localhost:{}", scene.address.port());
    let Some(mut page) = Page::open(&server).await else { return };
    page.load("#/start").await;
    sign_in(&mut page, "ann", "changeit").await;
    page.until("document.querySelector('main').dataset.state === 'ready'").await;
    let text = page.text().await;
    assert!(text.contains("Your user may not see"), "{text}");
    page.value("location.hash = '#/projections'").await;
    page.until("document.querySelector('main .notice.error')").await;
    assert!(page.text().await.contains("`ann` may not read statistics of projections"));
}
