//! A secret put in everywhere a secret can go in comes out nowhere: no answer, no error, no log line, no catalog, no page, and
//! no file but the one that must hold it.

use std::io::{Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};

use engine::source::embedded_broker::EmbeddedBroker;
use server::config::Config;
use tracing_subscriber::fmt::MakeWriter;

use super::privileges::Sessions;

/// What must be seen nowhere.
const CANARY: &str = "tweet-5be1-c0ffee";

/// Lines of any log that hold the canary.
static SUNG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Looks for the canary in everything that is logged.
struct Listener;

impl Write for Listener {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        if text.contains(CANARY) {
            SUNG.lock().expect("nobody panics with it").push(text.into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Listener {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter =
            tracing_subscriber::EnvFilter::new("info,server=trace,engine=trace,sql=trace,rdkafka=debug,audit=info");
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Listener);
        subscriber.try_init().expect("no other log in this binary");
    });
}

#[test]
fn a_secret_comes_out_nowhere() {
    listen();
    let broker = EmbeddedBroker::start().expect("a broker");
    broker.create_topic("t", 1).expect("a new topic");
    let root = tempfile::tempdir().expect("a directory that can be made");
    let data = root.path().join("data");
    let config = Config {
        data_dir: Some(data.display().to_string()),
        audit: root.path().join("audit.log").display().to_string(),
        scram_iterations: 4096,
        ..Config::default()
    };
    let mut sessions = Sessions::start(config);
    let mut said: Vec<String> = Vec::new();
    let source = |name: &str, options: &str| {
        format!(
            "CREATE SOURCE {name} (k bigint) WITH (connector = 'kafka', bootstrap = '{}', topic = 't', {options}) FORMAT JSON",
            broker.bootstrap()
        )
    };
    let inline = format!("sasl.password = '{CANARY}'");
    let statements = [
        format!("CREATE ROLE bird LOGIN PASSWORD '{CANARY}'"),
        format!("ALTER ROLE bird PASSWORD '{CANARY}' CONNECTION LIMIT 4"),
        format!("CREATE ROLE bird PASSWORD '{CANARY}'"),
        format!("CREATE ROLE bird PASSWORD '{CANARY}' FLIES"),
        format!("CREATE ROLE bird PASSWORD '{CANARY}"),
        format!("ALTER ROLE nobody PASSWORD $a${CANARY}$a$"),
        format!("CREATE SECRET cage WITH (backend = 'meta') AS '{CANARY}'"),
        format!("CREATE SECRET cage AS '{CANARY}'"),
        format!("CREATE SECRET cage2 WITH (backend = 'nest') AS '{CANARY}'"),
        source("s", &inline),
        source("s", &inline),
        source("named", "sasl.password = SECRET cage"),
        source("wrong", &format!("{inline}, sasl.mechanism = 'NONE', ssl.key.password = '{CANARY}'")),
        source("wrong", &format!("{inline}, no.such.option = 1")),
        source(
            "wrong",
            &format!(
                "'properties.sasl.password' = '{CANARY}', security.protocol = 'SASL_SSL', broker_timeout_ms = 300"
            ),
        ),
        source("wrong", "sasl.password = SECRET nowhere"),
        "CREATE MATERIALIZED VIEW m AS SELECT k FROM s".into(),
        "SHOW CREATE SOURCE s".into(),
        "SHOW CREATE SOURCE named".into(),
        "EXPLAIN (VERBOSE) SELECT * FROM s".into(),
        "EXPLAIN (VERBOSE) MATERIALIZED VIEW m".into(),
        "SHOW SOURCES".into(),
        "SHOW ALL".into(),
        "SELECT * FROM pg_stat_activity".into(),
        "SELECT * FROM pg_authid".into(),
        "SELECT * FROM pg_shadow".into(),
        "SELECT * FROM pg_roles".into(),
        "SELECT * FROM pg_class".into(),
        "SELECT * FROM pg_settings".into(),
        "SELECT * FROM pg_matviews".into(),
        "SELECT * FROM tidemark.sources".into(),
        "SELECT * FROM information_schema.tables".into(),
        "DROP SECRET cage".into(),
        "ALTER SOURCE s RENAME TO r".into(),
        "SHOW CREATE SOURCE r".into(),
        "CREATE OR REPLACE VIEW v AS SELECT 1 AS a".into(),
    ];
    let mut failed = 0;
    for statement in &statements {
        match sessions.try_as("tidemark", statement) {
            Ok(rows) => said.extend(rows),
            Err(error) => {
                failed += 1;
                said.push(error);
            }
        }
        said.extend(sessions.run_as("tidemark", "SELECT query FROM pg_stat_activity"));
    }
    assert!(failed > 5 && failed < statements.len() / 2, "{failed} of {} failed: {said:#?}", statements.len());
    // Sessions as the prepared statements of drivers have them.
    let client = sessions.connect("tidemark", "").expect("no password is asked for");
    let prepared = sessions.runtime.block_on(client.execute(&format!("ALTER ROLE bird PASSWORD '{CANARY}'"), &[]));
    prepared.expect("by the extended protocol");
    said.push(page(sessions.server().http_addr.port(), "/metrics"));
    said.push(format!("{:?}", sessions.server().database.catalog()));
    said.push(format!("{:?}", sessions.server().database.roles()));
    sessions.restart();
    // What was kept can be used: the source comes back with its password, and drops with it.
    assert!(sessions.run_as("tidemark", "SELECT name FROM tidemark.sources ORDER BY 1").contains(&"r".to_owned()));
    for line in &said {
        assert!(!line.contains(CANARY), "{line}");
    }
    let kept = data.join("secrets.toml");
    assert_eq!(std::fs::metadata(&kept).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&kept).expect("readable").contains(CANARY), "connectors need it");
    for file in files(root.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).expect("readable")).into_owned();
        assert!(file == kept || !text.contains(CANARY), "{}:\n{text}", file.display());
    }
    sessions.run_as("tidemark", "DROP SOURCE r CASCADE; DROP SOURCE named; DROP SECRET cage");
    assert!(!std::fs::read_to_string(&kept).expect("readable").contains(CANARY), "nobody needs it any more");
    let sung = SUNG.lock().expect("nobody panics with it");
    assert!(sung.is_empty(), "{sung:#?}");
    let audit = std::fs::read_to_string(root.path().join("audit.log")).expect("written");
    for line in [
        "action=LOGIN result=ok",
        "action=\"CREATE ROLE\" objects=[\"bird\"] result=ok",
        "action=\"CREATE ROLE\" objects=[\"bird\"] result=error sqlstate=42710",
        "action=\"CREATE SOURCE\" objects=[\"s\"] result=ok",
        "action=\"DROP SECRET\" objects=[\"cage\"] result=error sqlstate=2BP01",
    ] {
        assert!(audit.contains(line), "{line} is not in\n{audit}");
    }
}

/// A page of the HTTP server.
fn page(port: u16, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the HTTP server");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it listens");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers");
    page
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    assert!(found.len() >= 4, "{found:?}");
    found
}
