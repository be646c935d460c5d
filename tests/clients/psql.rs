//! psql, as scripts use it and as people do.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::tutorial::Tutorial;
use super::{are_installed, run};

const PATIENCE: Duration = Duration::from_secs(60);

/// What `psql` is told besides its arguments: where the server is, and nothing of the user's own.
fn psql(port: u16) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-h", "127.0.0.1", "-U", "tidemark", "-d", "tidemark", "-p", &port.to_string()]);
    command.env("PAGER", "cat").env("PGCONNECT_TIMEOUT", "20").env("LC_ALL", "C.UTF-8");
    command
}

/// Runs these lines as a script that stops at the first error.
fn script(port: u16, more: &[&str], lines: &str) -> Result<String, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), lines).expect("a writable file");
    run(psql(port).args(["-v", "ON_ERROR_STOP=1"]).args(more).arg("-f").arg(file.path()))
}

#[test]
fn the_tutorial_shows_what_it_says() {
    if !are_installed(&["psql"]) {
        return;
    }
    let tutorial = Tutorial::start();
    let said = script(tutorial.served.port(), &[], &tutorial.statements().join("\n")).expect("the tutorial runs");
    let shown = tutorial.blocks("text").concat();
    // psql pads its lines to the table's width; the README does not.
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert!(
        !shown.is_empty() && trimmed(&said).contains(trimmed(&shown).trim_end()),
        "the README says\n{shown}\npsql says\n{said}"
    );
    // Step 5: one window is final. Step 6: one record was not read, one came too late, each with its place.
    assert!(!said.contains("CREATE MATERIALIZED VIEW final_per_minute"), "no statement is echoed");
    for line in [
        " 2026-01-15 10:00:00+00 | 2026-01-15 10:01:00+00 |      2",
        "         0 |      3 | wrong_type | ",
        "  5 | 2026-01-15 09:59:00+00 | 2026-01-15 10:01:0",
        " orders | orders | running | ",
    ] {
        assert!(said.contains(line), "{line}\nis not in\n{said}");
    }
}

#[test]
fn describing_commands_find_what_is_there() {
    if !are_installed(&["psql"]) {
        return;
    }
    let tutorial = Tutorial::declared();
    tutorial.served.run("CREATE VIEW rich AS SELECT customer FROM per_minute WHERE revenue > 10");
    tutorial.served.run("CREATE INDEX by_customer ON per_minute (customer, window_start)");
    let ask = |command: &str| script(tutorial.served.port(), &[], command).unwrap_or_else(|e| panic!("{command}: {e}"));
    for (command, wanted) in [
        ("\\d", &["final_per_minute", "per_minute", "orders", "rich", "materialized view", "tidemark"][..]),
        ("\\dm", &["per_minute", "materialized view"]),
        ("\\dv", &["rich", "view"]),
        ("\\d per_minute", &["\"public.per_minute\"", "window_start", "timestamp with time zone", "numeric"]),
        ("\\d per_minute", &["Indexes:", "\"by_customer\" btree (customer, window_start)"]),
        ("\\d by_customer", &["Index \"public.by_customer\"", "customer", "btree, for table \"public.per_minute\""]),
        ("\\di", &["by_customer", "per_minute"]),
        ("\\d+ per_minute", &["revenue", "View definition"]),
        ("EXPLAIN SELECT * FROM per_minute WHERE customer = 'ann'", &["index=by_customer (customer = ann)"]),
        (
            "EXPLAIN SELECT revenue FROM per_minute WHERE customer IN ('ann', 'bob') AND window_start >= '2026-01-01'",
            &["index=by_customer (customer in 2 values, window_start >= "],
        ),
        ("\\d orders", &["amount", "numeric(12,2)", "not null"]),
        ("\\d orders_errors", &["reason", "text"]),
        ("\\dn", &["public"]),
        ("\\l", &["tidemark", "UTF8"]),
        ("\\du", &["tidemark"]),
        ("\\dt", &[]),
        ("\\df", &[]),
        ("\\dT", &[]),
        ("\\sv rich", &["SELECT customer FROM per_minute"]),
        ("\\conninfo", &["tidemark"]),
        ("\\encoding", &["UTF8"]),
    ] {
        let said = ask(command);
        for word in wanted {
            assert!(said.contains(word), "{command}: no {word} in\n{said}");
        }
    }
}

#[test]
fn fetch_count_reads_by_cursor() {
    if !are_installed(&["psql"]) {
        return;
    }
    let tutorial = Tutorial::declared();
    let query = "SELECT customer, orders FROM per_minute ORDER BY window_start, customer";
    let said = script(tutorial.served.port(), &["-At", "-v", "FETCH_COUNT=2"], query).expect("it runs");
    assert_eq!(said, "ann|1\nbob|1\nann|1\n");
    let many = "SELECT generate_series FROM generate_series(1, 1000)";
    let said = script(tutorial.served.port(), &["-At", "-v", "FETCH_COUNT=7"], many).expect("it runs");
    assert!(said.lines().eq((1..=1000).map(|n| n.to_string())), "{said}");
}

#[test]
fn tables_are_filled_with_copy() {
    if !are_installed(&["psql"]) {
        return;
    }
    let tutorial = Tutorial::declared();
    let run = |lines: &str| script(tutorial.served.port(), &["-At"], lines);
    let said = run(
        "CREATE TABLE stock (id int PRIMARY KEY, name text NOT NULL, price numeric(8,2) DEFAULT 1.5, tags text[], at timestamptz);\n\
         CREATE MATERIALIZED VIEW prices AS SELECT count(*) AS n, sum(price) AS total FROM stock;\n\
         COPY stock FROM STDIN;\n1\ttea\t3.255\t{hot,leaf}\t2026-02-03 04:05:06+02\n2\ta\\tb\t\\N\t\\N\t\\N\n\\.\n\
         COPY stock (id, name) FROM STDIN WITH (FORMAT csv);\n3,\"rye, dark\"\n\\.\n\
         SELECT id, name, price, tags, at AT TIME ZONE 'UTC' FROM stock ORDER BY id;\n\
         SELECT * FROM prices;\n",
    );
    let rows = "1|tea|3.26|{hot,leaf}|2026-02-03 02:05:06\n2|a\tb|||\n3|rye, dark|1.50||\n3|4.76\n";
    assert!(said.as_ref().is_ok_and(|said| said.ends_with(rows)), "{said:?}");
    // All or nothing: the second row's key is taken, and one name is NULL.
    let error = run("COPY stock (id, name) FROM STDIN;\n4\tnew\n1\ttaken\n\\.\n").expect_err("a key twice");
    assert!(error.contains("duplicate key value"), "{error}");
    let error = run("COPY stock (id, name) FROM STDIN;\n5\t\\N\n\\.\n").expect_err("a NULL");
    assert!(error.contains("null value in column \"name\""), "{error}");
    let error = run("COPY prices FROM STDIN;\n1\t1\n\\.\n").expect_err("a view");
    assert!(error.contains("cannot change"), "{error}");
    assert_eq!(run("SELECT count(*) FROM stock").as_deref(), Ok("3\n"));
}

#[test]
fn formats_copies_and_variables_work() {
    if !are_installed(&["psql"]) {
        return;
    }
    let tutorial = Tutorial::declared();
    let said = script(
        tutorial.served.port(),
        &["-At"],
        "\\set who ann\n\
         SELECT count(*) FROM per_minute WHERE customer = :'who';\n\
         \\copy (SELECT customer, revenue FROM per_minute ORDER BY window_start, customer) TO STDOUT WITH (FORMAT csv, HEADER)\n\
         SELECT max(orders) AS most FROM per_minute \\gset\n\
         \\echo most is :most\n\
         SELECT customer, revenue FROM per_minute WHERE customer = 'bob' \\gdesc\n\
         SELECT 1 AS a, 2 AS b \\crosstabview\n",
    );
    // crosstabview wants three columns: psql's own complaint, so the script ends there.
    let said = said.expect_err("the last command is refused by psql");
    for line in ["\n2\ncustomer,revenue\nann,12.50\nbob,7.25\nann,30.00\nmost is 1\n", "revenue|numeric(22,2)"] {
        assert!(said.contains(line) || said.contains(line.trim_start()), "{line} is not in\n{said}");
    }
}

/// psql on a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(port: u16) -> Self {
        let command = format!("psql -X -n -P pager=off -h 127.0.0.1 -U tidemark -d tidemark -p {port}");
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &command, "/dev/null"])
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("script is installed");
        let keys = child.stdin.take().expect("a pipe");
        let mut output = child.stdout.take().expect("a pipe");
        let screen = Arc::<Mutex<String>>::default();
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let mut terminal = Self { child, keys, screen };
        terminal.until("tidemark=# ", |_| {});
        terminal
    }

    fn type_(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("psql reads");
        self.keys.flush().expect("psql reads");
    }

    fn screen(&self) -> String {
        self.screen.lock().expect("no holder panics").replace('\r', "")
    }

    /// Waits for `text` on the screen, doing `meanwhile` now and then.
    fn until(&mut self, text: &str, mut meanwhile: impl FnMut(&mut Self)) {
        let deadline = Instant::now() + PATIENCE;
        while !self.screen().contains(text) {
            assert!(Instant::now() < deadline, "no {text} on the screen:\n{}", self.screen());
            meanwhile(self);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ends psql with its terminal; it may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn control_c_cancels_a_query_and_the_session_goes_on() {
    if !are_installed(&["psql", "script"]) {
        return;
    }
    let tutorial = Tutorial::declared();
    let mut terminal = Terminal::open(tutorial.served.port());
    terminal.type_("SET my.own = 'kept';\n");
    terminal.until("SET\n", |_| {});
    let long =
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a % 7 = b % 11;";
    // A Control-C before psql has sent the query only empties the line, so each attempt waits longer for it to run.
    let mut wait = Duration::from_millis(500);
    while !terminal.screen().contains("canceling statement due to user request") {
        assert!(wait < PATIENCE, "never cancelled:\n{}", terminal.screen());
        terminal.type_(&format!("{long}\n"));
        std::thread::sleep(wait);
        terminal.type_("\u{3}");
        std::thread::sleep(wait);
        wait *= 2;
    }
    // A clean line, then the same session goes on.
    terminal.type_("\u{3}\n");
    terminal.type_("SHOW my.own;\nSELECT 'rows: ' || count(*) FROM per_minute;\n");
    terminal.until("rows: 3", |_| {});
    let screen = terminal.screen();
    assert!(screen.contains(" kept"), "{screen}");
}

#[test]
fn watch_sees_new_ticks() {
    if !are_installed(&["psql", "script"]) {
        return;
    }
    let tutorial = Tutorial::declared();
    let mut terminal = Terminal::open(tutorial.served.port());
    terminal.type_("SELECT 'sum: ' || sum(orders) AS shown FROM per_minute \\watch 0.2\n");
    terminal.until("sum: 3", |_| {});
    tutorial.produce(&[r#"{"id": 6, "customer": "ann", "amount": 1, "placed_at": "2026-01-15T10:01:30Z"}"#]);
    terminal.until("sum: 4", |_| {});
    terminal.type_("\u{3}");
    terminal.type_("SELECT 'still ' || 'here';\n");
    terminal.until("still here", |_| {});
}
