//! The example of the README: a newsletter that readers subscribe to.
//!
//! `cargo xtask tidy` compares the lines between the markers with the README.

// README BEGIN
use gesta::prelude::*;

#[derive(Event, EventSet, Serialize, Deserialize, Clone)]
#[event(name = "reader-subscribed")]
struct ReaderSubscribed;

#[derive(Default)]
struct Reader {
    is_subscribed: bool,
}

impl Aggregate for Reader {
    const CATEGORY: &'static str = "reader";
    type Id = String;
    type Event = ReaderSubscribed;

    fn evolve(&mut self, _: &ReaderSubscribed) {
        self.is_subscribed = true;
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "subscribe", on = Reader, either)] // the reader may be new
struct Subscribe {
    #[command(id)]
    email: String,
}

impl Decide for Subscribe {
    type Rejection = std::convert::Infallible;

    fn decide(&self, reader: &Reader) -> Decision<Self> {
        Ok(if reader.is_subscribed { Events::none() } else { ReaderSubscribed.into() })
    }
}

use gesta_http::{Api, ApiRoute, GestaState};

fn api() -> Api {
    let subscribe = ApiRoute::put("/readers/{email}", "Subscribes a reader");
    let subscribe = subscribe.update(|(), email, _| Ok(Subscribe { email }));
    Api::new("Newsletter", "1.0").with("readers", [subscribe])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gesta = Gesta::at("gesta:./data").open().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, api().router(GestaState::new(gesta))).await?;
    Ok(())
}
// README END

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_reader_subscribes_once() {
        let gesta = Gesta::at("memory:").open().await.expect("a memory store opens");
        let router = api().router(GestaState::new(gesta.clone()));
        for _ in 0..2 {
            let request = Request::put("/readers/ann@example.org").body(Body::empty());
            let request = request.expect("the request is well-formed");
            let response = router.clone().oneshot(request).await.expect("a router answers");
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["gesta-position"], "1", "twice is the same as once");
        }
        let reader = gesta.load::<Reader>(&"ann@example.org".to_owned()).await;
        let reader = reader.expect("the reader is read").expect("the reader exists");
        assert!(reader.state.is_subscribed);
    }
}
