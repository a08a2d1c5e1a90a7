//! The program with two tenants.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{shop, text};

/// A served shop of two tenants, and the keys of their clerks.
struct Served {
    program: Child,
    address: String,
    keys: [String; 2],
}

const STORE: [&str; 2] = ["--store", "gesta:./data/{tenant}"];

impl Served {
    fn start(directory: &TempDir) -> Self {
        let (mut keys, mut lines) = (Vec::new(), String::new());
        for tenant in ["acme", "globex"] {
            let made = shop(directory, &["api-key", "cleo", "clerk", "--tenant", tenant]);
            let printed: Vec<_> = text(&made.stdout).lines().collect();
            keys.push(printed[1].to_owned());
            assert!(printed[3].ends_with(&format!(" cleo clerk {tenant}")), "{printed:?}");
            lines.push_str(printed[3]);
            lines.push('\n');
        }
        let access = "[api-keys]\nfile = \"keys.txt\"\n";
        fs::write(directory.path().join("access.toml"), access).unwrap();
        fs::write(directory.path().join("keys.txt"), lines).unwrap();
        Self::with(directory, keys.try_into().unwrap())
    }

    fn with(directory: &TempDir, keys: [String; 2]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(["serve", "--access", "access.toml", "--listen", "127.0.0.1:0"]).args(STORE);
        command.args(["--tenant", "acme", "--tenant", "globex"]).stdout(Stdio::piped());
        let mut program = command.current_dir(directory).spawn().unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut addresses = lines.filter_map(|line| {
            let rest = line.strip_prefix("listening on http://")?;
            Some(rest.split_once(',')?.0.to_owned())
        });
        let address = addresses.next().expect("it says where it listens");
        Self { program, address, keys }
    }

    fn ask(&self, tenant: usize, method: &str, path: &str, body: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let key = &self.keys[tenant];
        let length = body.len();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             x-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n\
             {body}"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(mut self) -> [String; 2] {
        Command::new("kill").args(["-INT", &self.program.id().to_string()]).status().unwrap();
        assert!(self.program.wait().unwrap().success());
        self.keys
    }
}

#[test]
fn each_tenant_has_a_directory_and_sees_its_own_also_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let served = Served::start(&directory);
    let user = r#"{"userId":"ann","firstName":"Ann","lastName":"Lee","email":"ann@example.org"}"#;
    let other = user.replace("Lee", "Poe");
    for (tenant, user) in [(0, user), (1, other.as_str())] {
        let created = served.ask(tenant, "POST", "/v1/users", user);
        assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    }
    let keys = served.stop();
    for tenant in ["acme", "globex"] {
        assert!(directory.path().join("data").join(tenant).join("read-models").is_dir());
    }
    let served = Served::with(&directory, keys);
    let found = |tenant: usize| served.ask(tenant, "GET", "/v1/users/ann", "");
    assert!(found(0).contains("Lee") && !found(0).contains("Poe"), "{}", found(0));
    assert!(found(1).contains("Poe") && !found(1).contains("Lee"), "{}", found(1));
    served.stop();
    // The other verbs work on one of them, and a store of one tenant is none of another.
    let report = shop(&directory, &[&["report", "--tenant", "acme"], &STORE[..]].concat());
    assert!(report.status.success(), "{report:?}");
    let wrong = ["report", "--tenant", "globex", "--store", "gesta:./other/{tenant}"];
    fs::create_dir(directory.path().join("other")).unwrap();
    fs::rename(directory.path().join("data/acme"), directory.path().join("other/globex")).unwrap();
    let refused = shop(&directory, &wrong);
    let error = text(&refused.stderr);
    assert!(!refused.status.success() && error.contains("belongs to tenant `acme`"), "{error}");
    let both = ["report", "--tenant", "acme,globex"];
    let refused = shop(&directory, &[&both[..], &STORE].concat());
    assert!(text(&refused.stderr).contains("only `serve` takes several tenants"), "{refused:?}");
}
