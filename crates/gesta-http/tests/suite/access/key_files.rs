//! Keys in files that are replaced while the program runs.

use std::{fs, path::PathBuf, time::Duration};

use gesta_http::{ApiKeyFile, BearerTokens, NewApiKey, TokenKeyFile, UnusableKeyFile};
use gesta_tokens::TokenRule;
use serde_json::json;
use tempfile::TempDir;

use super::{Guarded, ISSUER, access, claims, log, signer::Signer};

const OPEN: &str = "/doors/7/open";
/// Time after which the files are looked at for the next request.
const LOOK: Duration = Duration::from_secs(1);

/// A folder with a file.
struct Kept {
    _folder: TempDir,
    path: PathBuf,
}

impl Kept {
    fn new(content: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, content).unwrap();
        Self { _folder: folder, path }
    }

    fn put(&self, content: &str) {
        fs::write(&self.path, content).unwrap();
    }
}

async fn by_key(doors: &Guarded, key: &NewApiKey) -> u16 {
    doors.ask("POST", OPEN, &[("x-api-key", key.secret())]).await.0
}

async fn by_token(doors: &Guarded, signer: &Signer) -> u16 {
    let mut claims = claims();
    claims["exp"] = json!(super::now_of(&doors.clock) + 3_600);
    let token = format!("Bearer {}", signer.token(&claims));
    doors.ask("POST", OPEN, &[("authorization", &token)]).await.0
}

#[tokio::test]
async fn api_keys_count_as_the_file_says_within_a_second() {
    let (first, second) = (NewApiKey::random(), NewApiKey::random());
    let line = |key: &NewApiKey| key.line("till", &["porter"]);
    let file = Kept::new(&line(&first));
    let doors = Guarded::by(access().by(ApiKeyFile::open(&file.path).unwrap())).await;
    assert_eq!((by_key(&doors, &first).await, by_key(&doors, &second).await), (200, 401));
    file.put(&format!("{}\n{}", line(&first), line(&second)));
    doors.clock.advance(LOOK);
    assert_eq!((by_key(&doors, &first).await, by_key(&doors, &second).await), (200, 200));
    file.put(&line(&second));
    doors.clock.advance(LOOK);
    assert_eq!((by_key(&doors, &first).await, by_key(&doors, &second).await), (401, 200));
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_in_the_log() {
    let key = NewApiKey::random();
    let file = Kept::new(&key.line("till", &["porter"]));
    let doors = Guarded::by(access().by(ApiKeyFile::open(&file.path).unwrap())).await;
    // As after a careless edit: the line may be a key itself.
    file.put("gesta_careless till porter");
    doors.clock.advance(LOOK);
    assert_eq!(by_key(&doors, &key).await, 200);
    fs::remove_file(&file.path).unwrap();
    doors.clock.advance(LOOK);
    assert_eq!(by_key(&doors, &key).await, 200);
    let log = log::text();
    let name = file.path.display().to_string();
    assert!(log.contains(&format!("{name} cannot be used as a file of API keys")), "{log}");
    assert!(log.contains(&format!("cannot read {name}")), "{log}");
    assert!(!log.contains("gesta_careless"), "{log}");
    file.put("");
    doors.clock.advance(LOOK);
    assert_eq!(by_key(&doors, &key).await, 401, "an empty file has no keys");
}

#[tokio::test]
async fn keys_of_tokens_count_as_the_files_say_within_a_second() {
    let (old, new) = (Signer::new(), Signer::new());
    let set = |signers: &[&Signer]| {
        let keys: Vec<_> = signers.iter().map(|signer| signer.web_key("one")).collect();
        json!({ "keys": keys }).to_string()
    };
    let file = Kept::new(&set(&[&old]));
    let secret = Kept::new("a secret of at least thirty-two bytes\n");
    let files =
        [TokenKeyFile::KeySet(file.path.clone()), TokenKeyFile::Secret(secret.path.clone())];
    let tokens = BearerTokens::from_files(TokenRule::new(ISSUER, "doors"), files).unwrap();
    let doors = Guarded::by(access().by(tokens)).await;
    assert_eq!((by_token(&doors, &old).await, by_token(&doors, &new).await), (200, 401));
    file.put(&set(&[&old, &new]));
    assert_eq!(by_token(&doors, &new).await, 401, "the next look is after a second");
    doors.clock.advance(LOOK);
    assert_eq!((by_token(&doors, &old).await, by_token(&doors, &new).await), (200, 200));
    file.put(&set(&[&new]));
    doors.clock.advance(LOOK);
    assert_eq!((by_token(&doors, &old).await, by_token(&doors, &new).await), (401, 200));
}

#[test]
fn a_file_that_cannot_be_used_is_refused_at_the_start_by_its_name() {
    let missing = ApiKeyFile::open("/nowhere/keys.txt").unwrap_err();
    assert_eq!(missing.to_string(), "cannot read /nowhere/keys.txt");
    let endless = ApiKeyFile::open("/dev/zero").unwrap_err();
    assert!(matches!(endless, UnusableKeyFile::TooLarge { .. }), "{endless}");
    let file = Kept::new("no key");
    let rule = || TokenRule::new(ISSUER, "doors");
    for of in [TokenKeyFile::PublicKey, TokenKeyFile::Secret, TokenKeyFile::KeySet] {
        let refused = BearerTokens::from_files(rule(), [of(file.path.clone())]).unwrap_err();
        assert!(matches!(refused, UnusableKeyFile::TokenKey { .. }), "{refused}");
    }
}
