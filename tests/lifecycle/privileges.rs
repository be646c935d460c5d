//! Every kind of statement by every kind of role on every kind of object: allowed, or refused with 42501, as one small rule
//! says; and what roles are for beside that.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use server::config::Config;
use server::server::Server;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A server, and a session of each role that was asked for.
pub struct Sessions {
    pub runtime: Runtime,
    server: Option<Server>,
    clients: BTreeMap<String, Client>,
    config: Config,
}

impl Sessions {
    pub fn start(config: Config) -> Self {
        let runtime = server::runtime().worker_threads(2).build().expect("a runtime");
        let local = "127.0.0.1:0".parse().expect("an address");
        let config = Config { pg_addr: local, http_addr: local, ..config };
        let server = Some(runtime.block_on(Server::start(config.clone())).expect("the server starts"));
        Self { runtime, server, clients: BTreeMap::new(), config }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("running between restarts")
    }

    pub fn restart(&mut self) {
        self.clients.clear();
        self.runtime.block_on(self.server.take().expect("running").stop());
        let started = self.runtime.block_on(Server::start(self.config.clone()));
        self.server = Some(started.expect("the server starts again"));
    }

    /// A new session, or why there is none.
    pub fn connect(&self, user: &str, password: &str) -> Result<Client, String> {
        let port = self.server().pg_addr.port();
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user(user).password(password).dbname("tidemark");
        let connected = self.runtime.block_on(config.connect(NoTls)).map_err(said);
        let (client, connection) = connected?;
        self.runtime.spawn(connection);
        Ok(client)
    }

    /// Runs statements as a role; their rows, values divided by `|`.
    pub fn try_as(&mut self, user: &str, text: &str) -> Result<Vec<String>, String> {
        if self.clients.get(user).is_none_or(Client::is_closed) {
            let client = self.connect(user, "")?;
            self.clients.insert(user.to_owned(), client);
        }
        let client = &self.clients[user];
        if text.starts_with("COPY") {
            let read = async {
                let stream = client.copy_out(text).await?;
                TryStreamExt::try_collect::<Vec<bytes::Bytes>>(stream).await
            };
            let lines = self.runtime.block_on(read).map_err(said)?.concat();
            return Ok(String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect());
        }
        let messages = self.runtime.block_on(client.simple_query(text)).map_err(said)?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let cells: Vec<_> = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect();
                Some(cells.join("|"))
            }
            _ => None,
        };
        Ok(messages.iter().filter_map(row).collect())
    }

    pub fn run_as(&mut self, user: &str, text: &str) -> Vec<String> {
        self.try_as(user, text).unwrap_or_else(|error| panic!("{user}: {text}: {error}"))
    }

    /// What a statement fails with.
    pub fn refused(&mut self, user: &str, text: &str) -> String {
        match self.try_as(user, text) {
            Ok(_) => panic!("{user} may: {text}"),
            Err(error) => error,
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.clients.clear();
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

fn said(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}

/// What a role is to the objects.
struct Actor {
    name: &'static str,
    superuser: bool,
    owner: bool,
    /// May make objects.
    creates: bool,
    /// The letters of its privileges on the objects.
    privileges: &'static str,
}

const fn actor(name: &'static str, privileges: &'static str) -> Actor {
    Actor { name, superuser: false, owner: false, creates: false, privileges }
}

const ACTORS: [Actor; 9] = [
    Actor { superuser: true, owner: true, creates: true, ..actor("tidemark", "arwdD") },
    Actor { owner: true, creates: true, ..actor("owner", "arwdD") },
    actor("reader", "r"),
    actor("writer", "a"),
    actor("editor", "arwdD"),
    // A member of editor, and one that does not inherit.
    actor("member", "arwdD"),
    actor("outsider", ""),
    Actor { creates: true, ..actor("maker", "r") },
    actor("stranger", ""),
];

/// What a statement needs.
#[derive(Clone, Copy)]
enum Needs {
    Privileges(&'static str),
    Owner,
    Create,
    CreateAnd(&'static str),
    OwnerAndCreate,
    Superuser,
    Something,
    Nothing,
}

/// The rule: nothing but this says what is expected.
fn is_allowed(actor: &Actor, needs: Needs, public: &str) -> bool {
    let has = |wanted: &str| wanted.chars().all(|p| actor.privileges.contains(p) || public.contains(p));
    match needs {
        Needs::Privileges(wanted) => has(wanted),
        Needs::Owner => actor.owner,
        Needs::Create => actor.creates,
        Needs::CreateAnd(wanted) => actor.creates && has(wanted),
        Needs::OwnerAndCreate => actor.owner && actor.creates,
        Needs::Superuser => actor.superuser,
        Needs::Something => actor.owner || !actor.privileges.is_empty() || !public.is_empty(),
        Needs::Nothing => true,
    }
}

/// A statement on `{}`; what undoes it, run by the superuser after it was allowed.
type Case = (&'static str, Needs, &'static str);

const ON_ANY: [Case; 12] = [
    ("SELECT * FROM {}", Needs::Privileges("r"), ""),
    ("SELECT 1 FROM {} WHERE false", Needs::Privileges("r"), ""),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM {})", Needs::Privileges("r"), ""),
    ("WITH a AS (SELECT count(*) AS n FROM public.{}) SELECT n FROM a", Needs::Privileges("r"), ""),
    ("EXPLAIN SELECT * FROM {}", Needs::Privileges("r"), ""),
    ("COPY (SELECT * FROM {}) TO STDOUT", Needs::Privileges("r"), ""),
    ("BEGIN; DECLARE c CURSOR FOR SELECT * FROM {}; COMMIT", Needs::Privileges("r"), ""),
    ("CREATE VIEW made AS SELECT * FROM {}", Needs::Create, "DROP VIEW made"),
    // Who has some right but none to grant hears a warning, and nothing is granted.
    ("GRANT SELECT ON {} TO other", Needs::Something, "REVOKE SELECT ON {} FROM other"),
    ("DESCRIBE {}", Needs::Nothing, ""),
    ("SELECT count(*) FROM pg_class WHERE relname = '{}'", Needs::Nothing, ""),
    ("EXPLAIN (STATE) SELECT k FROM {} GROUP BY k", Needs::Privileges("r"), ""),
];

const ON_TABLE: [Case; 20] = [
    ("INSERT INTO {} VALUES (100, 1)", Needs::Privileges("a"), "DELETE FROM {} WHERE k = 100"),
    ("INSERT INTO {} VALUES (100, 1) RETURNING k", Needs::Privileges("ar"), "DELETE FROM {} WHERE k = 100"),
    ("INSERT INTO {} SELECT k + 100, v FROM {}", Needs::Privileges("ar"), "DELETE FROM {} WHERE k >= 100"),
    ("INSERT INTO {} VALUES (1, 1) ON CONFLICT DO NOTHING", Needs::Privileges("a"), ""),
    ("INSERT INTO {} VALUES (1, 1) ON CONFLICT (k) DO UPDATE SET v = 1", Needs::Privileges("awr"), ""),
    ("UPDATE {} SET v = 1", Needs::Privileges("w"), ""),
    ("UPDATE {} SET v = v", Needs::Privileges("wr"), ""),
    ("UPDATE {} SET v = 1 WHERE k = 1", Needs::Privileges("wr"), ""),
    ("DELETE FROM {} WHERE k = -1", Needs::Privileges("dr"), ""),
    ("DELETE FROM {}", Needs::Privileges("d"), "INSERT INTO {} VALUES (1, 1)"),
    ("TRUNCATE {}", Needs::Privileges("D"), "INSERT INTO {} VALUES (1, 1)"),
    ("BEGIN; INSERT INTO {} VALUES (101, 1); ROLLBACK", Needs::Privileges("a"), ""),
    ("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE {}; ROLLBACK", Needs::Privileges("r"), ""),
    ("SHOW CREATE TABLE {}", Needs::Privileges("r"), ""),
    ("CREATE MATERIALIZED VIEW made AS SELECT k FROM {}", Needs::CreateAnd("r"), "DROP MATERIALIZED VIEW made"),
    ("EXPLAIN CREATE MATERIALIZED VIEW made AS SELECT k FROM {}", Needs::Privileges("r"), ""),
    ("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO (SELECT k FROM {}); ROLLBACK", Needs::Privileges("r"), ""),
    ("CREATE INDEX made ON {} (v)", Needs::Owner, "DROP INDEX made"),
    ("ALTER TABLE {} RENAME TO made", Needs::OwnerAndCreate, "ALTER TABLE made RENAME TO {}"),
    ("ALTER TABLE {} OWNER TO tidemark", Needs::Superuser, "ALTER TABLE {} OWNER TO owner"),
];

const ON_MATERIALIZED_VIEW: [Case; 6] = [
    ("SHOW CREATE MATERIALIZED VIEW {}", Needs::Privileges("r"), ""),
    ("EXPLAIN MATERIALIZED VIEW {}", Needs::Privileges("r"), ""),
    ("EXPLAIN (STATE) MATERIALIZED VIEW {}", Needs::Privileges("r"), ""),
    ("VERIFY MATERIALIZED VIEW {}", Needs::Privileges("r"), ""),
    ("CREATE OR REPLACE MATERIALIZED VIEW {} AS SELECT k, v FROM hidden", Needs::OwnerAndCreate, ""),
    ("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE {}; ROLLBACK", Needs::Privileges("r"), ""),
];

const ON_VIEW: [Case; 2] = [
    ("SHOW CREATE VIEW {}", Needs::Privileges("r"), ""),
    ("CREATE OR REPLACE VIEW {} AS SELECT k, v FROM hidden", Needs::OwnerAndCreate, ""),
];

const ON_NOTHING: [Case; 12] = [
    ("SELECT 1", Needs::Nothing, ""),
    ("SHOW TABLES", Needs::Nothing, ""),
    ("SHOW TICK", Needs::Nothing, ""),
    ("SET statement_timeout = 0", Needs::Nothing, ""),
    ("CREATE TABLE made (a int)", Needs::Create, "DROP TABLE made"),
    ("SET tick_interval = 'adaptive'", Needs::Superuser, ""),
    ("CREATE ROLE made", Needs::Superuser, "DROP ROLE made"),
    ("ALTER ROLE other CONNECTION LIMIT 5", Needs::Superuser, ""),
    ("DROP ROLE IF EXISTS nobody_of_this_name", Needs::Superuser, ""),
    ("GRANT editor TO other", Needs::Superuser, "REVOKE editor FROM other"),
    ("SET SESSION AUTHORIZATION other; RESET SESSION AUTHORIZATION", Needs::Superuser, ""),
    ("CREATE SECRET made AS 'x'", Needs::Superuser, "DROP SECRET made"),
];

/// The objects: a table, a view and a materialized view over one that nobody but the owner may read, and the same with SELECT
/// for everybody.
const SETUP: &str = "
    CREATE ROLE owner LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE writer LOGIN; CREATE ROLE editor LOGIN;
    CREATE ROLE member LOGIN IN ROLE editor; CREATE ROLE outsider LOGIN NOINHERIT IN ROLE editor;
    CREATE ROLE maker LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE other LOGIN;
    GRANT CREATE ON SCHEMA public TO owner, maker;
    SET ROLE owner;
    CREATE TABLE hidden (k bigint PRIMARY KEY, v bigint);
    INSERT INTO hidden VALUES (1, 1);
    CREATE TABLE t (k bigint PRIMARY KEY, v bigint);
    CREATE TABLE open_t (k bigint PRIMARY KEY, v bigint);
    CREATE VIEW w AS SELECT k, v FROM hidden;
    CREATE VIEW open_w AS SELECT k, v FROM hidden;
    CREATE MATERIALIZED VIEW m AS SELECT k, v FROM hidden;
    CREATE MATERIALIZED VIEW open_m AS SELECT k, v FROM hidden;
    INSERT INTO t VALUES (1, 1); INSERT INTO open_t VALUES (1, 1);
    GRANT SELECT ON open_t, open_w, open_m TO PUBLIC;
    GRANT SELECT ON t, w, m, open_t TO reader, maker;
    GRANT INSERT ON t, open_t TO writer;
    GRANT ALL ON t, open_t TO editor;
    GRANT SELECT ON w, m TO editor;
    RESET ROLE";

#[test]
fn what_each_role_may_do_is_what_the_rule_says() {
    let mut sessions = Sessions::start(Config::default());
    sessions.run_as("tidemark", SETUP);
    let mut wrong = Vec::new();
    let mut outcomes = BTreeSet::new();
    let mut tried = 0;
    for (objects, kind) in [
        (&["t", "open_t"][..], &ON_TABLE[..]),
        (&["m", "open_m"], &ON_MATERIALIZED_VIEW),
        (&["w", "open_w"], &ON_VIEW),
        (&[""], &ON_NOTHING),
    ] {
        for object in objects {
            let any = if object.is_empty() { &[][..] } else { &ON_ANY[..] };
            for (statement, needs, undo) in any.iter().chain(kind) {
                for actor in &ACTORS {
                    let text = statement.replace("{}", object);
                    // A view's rows are no table's: nobody writes them, so there is nothing else to hold.
                    let public = if object.starts_with("open") { "r" } else { "" };
                    let writer_of_view = actor.name == "writer" && !object.ends_with('t');
                    let actor = if writer_of_view { &Actor { privileges: "", ..*actor } } else { actor };
                    let allowed = is_allowed(actor, *needs, public);
                    let done = sessions.try_as(actor.name, &text);
                    // A block that failed is left.
                    let _ = sessions.try_as(actor.name, "ROLLBACK");
                    tried += 1;
                    outcomes.insert(allowed);
                    match (&done, allowed) {
                        (Ok(_), true) => {
                            if statement.starts_with("GRANT SELECT") {
                                let holds = format!("SELECT has_table_privilege('other', '{object}', 'SELECT')");
                                let granted = if actor.owner || public == "r" { "t" } else { "f" };
                                assert_eq!(sessions.run_as("tidemark", &holds), [granted], "{}: {text}", actor.name);
                            }
                            if !undo.is_empty() {
                                sessions.run_as("tidemark", &undo.replace("{}", object));
                            }
                        }
                        (Err(error), false) if error.starts_with("42501 ") => {}
                        _ => wrong.push(format!("{}: {text}: {done:?}, and should be allowed: {allowed}", actor.name)),
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(outcomes.len(), 2);
    assert!(tried > 500, "{tried}");
}

#[test]
fn a_view_reads_with_its_owners_rights_and_tells_its_readers_no_more() {
    let mut sessions = Sessions::start(Config::default());
    sessions.run_as("tidemark", SETUP);
    let denied = "42501 permission denied for table hidden";
    assert_eq!(sessions.run_as("reader", "SELECT v FROM w"), ["1"]);
    assert_eq!(sessions.refused("reader", "SELECT v FROM hidden"), denied);
    assert_eq!(sessions.refused("reader", "SELECT w.v FROM w JOIN hidden USING (k)"), denied);
    // A view of one who may not read is of no use to anybody, and a view over a view is read as its owner.
    sessions
        .run_as("maker", "CREATE VIEW through AS SELECT * FROM hidden; CREATE VIEW over AS SELECT v + 1 AS v FROM w");
    assert_eq!(sessions.refused("maker", "SELECT * FROM through"), denied);
    assert_eq!(sessions.run_as("maker", "SELECT v FROM over"), ["2"]);
    sessions.run_as("maker", "GRANT SELECT ON through, over TO stranger");
    assert_eq!(sessions.refused("stranger", "SELECT * FROM through"), denied);
    assert_eq!(sessions.run_as("stranger", "SELECT v FROM over"), ["2"]);
    sessions.run_as("owner", "REVOKE SELECT ON w FROM maker");
    assert_eq!(sessions.refused("stranger", "SELECT v FROM over"), "42501 permission denied for view w");
    // What is behind a view is for those to see who may read it.
    let definitions = "SELECT count(definition) FROM pg_views WHERE viewname = 'w'";
    assert_eq!(sessions.run_as("reader", definitions), ["1"]);
    assert_eq!(sessions.run_as("stranger", definitions), ["0"]);
    assert_eq!(sessions.run_as("stranger", "SELECT pg_get_viewdef('w'::regclass)"), ["NULL"]);
    assert_eq!(sessions.run_as("stranger", "SELECT count(definition) FROM tidemark.views WHERE name = 'w'"), ["0"]);
    let listed = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(sessions.run_as("stranger", listed), ["open_m", "open_t", "open_w", "over", "through"]);
    // The errors of a view hold rows of what it reads.
    let errors = "42501 permission denied for table m_errors";
    assert_eq!(sessions.refused("reader", "SELECT * FROM m_errors"), errors);
    sessions.run_as("owner", "GRANT SELECT ON m_errors TO reader");
    assert_eq!(sessions.run_as("reader", "SELECT * FROM m_errors"), [""; 0]);
}

#[test]
fn catalogs_say_who_may_do_what() {
    let mut sessions = Sessions::start(Config::default());
    sessions.run_as("tidemark", SETUP);
    let mut ask = |user: &str, query: &str| sessions.run_as(user, query);
    assert_eq!(
        ask("reader", "SELECT relacl FROM pg_class WHERE relname = 'm'"),
        ["{owner=arwdD/owner,reader=r/owner,maker=r/owner,editor=r/owner}"]
    );
    assert_eq!(ask("reader", "SELECT relacl FROM pg_class WHERE relname = 'hidden'"), ["NULL"]);
    assert_eq!(ask("reader", "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'm'"), ["owner"]);
    let privileges = "SELECT has_table_privilege('m', 'SELECT'), has_table_privilege('editor', 't', 'insert, update'), \
                      has_table_privilege('stranger', 'm', 'SELECT'), has_schema_privilege('public', 'CREATE'), \
                      pg_has_role('member', 'editor', 'USAGE'), pg_has_role('outsider', 'editor', 'USAGE'), \
                      pg_has_role('outsider', 'editor', 'MEMBER')";
    assert_eq!(ask("reader", privileges), ["t|t|f|f|t|f|t"]);
    assert_eq!(ask("tidemark", "SELECT has_schema_privilege('public', 'CREATE')"), ["t"]);
    let grants = "SELECT grantee, table_name, privilege_type, is_grantable FROM information_schema.role_table_grants \
                  WHERE table_name = 'm' ORDER BY 1, 3";
    assert_eq!(ask("reader", grants), ["reader|m|SELECT|NO"]);
    assert_eq!(ask("owner", grants).len(), 8);
    let roles = "SELECT rolname, rolsuper, rolcanlogin, rolpassword FROM pg_roles WHERE rolname IN ('tidemark', 'editor') \
                 ORDER BY 1";
    assert_eq!(ask("stranger", roles), ["editor|f|t|********", "tidemark|t|t|********"]);
    assert_eq!(ask("stranger", "SELECT count(passwd) FROM pg_shadow"), ["0"]);
    assert_eq!(ask("stranger", "SELECT count(rolpassword) FROM pg_authid"), ["0"]);
    let members =
        "SELECT pg_get_userbyid(roleid), pg_get_userbyid(member), admin_option FROM pg_auth_members ORDER BY 2";
    assert_eq!(ask("stranger", members), ["editor|member|f", "editor|outsider|f"]);
    // What others run is for those to see who act as them.
    let others = "SELECT query FROM pg_stat_activity WHERE usename = 'tidemark'";
    assert_eq!(ask("stranger", others), ["<insufficient privilege>"]);
    assert_ne!(ask("tidemark", others), ["<insufficient privilege>"]);
    let pid = ask("tidemark", "SELECT pg_backend_pid()").remove(0);
    let own = ask("stranger", "SELECT pg_backend_pid()").remove(0);
    assert_eq!(
        sessions.refused("stranger", &format!("SELECT pg_terminate_backend({pid})")),
        "42501 must be a superuser to terminate superuser process"
    );
    assert_eq!(
        sessions.refused("reader", &format!("SELECT pg_cancel_backend({own})")),
        "42501 must be a member of the role whose query is being canceled or member of pg_signal_backend"
    );
    sessions.run_as("tidemark", "GRANT pg_signal_backend, pg_monitor TO reader");
    assert_eq!(sessions.run_as("reader", &format!("SELECT pg_cancel_backend({own})")), ["t"]);
    assert_ne!(sessions.run_as("reader", others), ["<insufficient privilege>"]);
}

#[test]
fn a_session_acts_as_the_roles_it_may_become() {
    let mut sessions = Sessions::start(Config::default());
    sessions.run_as("tidemark", SETUP);
    let who = "SELECT session_user, current_user";
    // NOINHERIT: the privileges come with SET ROLE.
    sessions.refused("outsider", "SELECT * FROM t");
    assert_eq!(
        sessions.run_as("outsider", &format!("SET ROLE editor; SELECT count(*) FROM t; {who}")),
        ["1", "outsider|editor"]
    );
    assert_eq!(sessions.run_as("outsider", &format!("RESET ROLE; {who}")), ["outsider|outsider"]);
    assert_eq!(sessions.refused("outsider", "SET ROLE owner"), "42501 permission denied to set role \"owner\"");
    assert_eq!(
        sessions.refused("outsider", "SELECT set_config('role', 'owner', false)"),
        "42501 permission denied to set role \"owner\""
    );
    assert_eq!(sessions.refused("outsider", "SET ROLE nobody"), "22023 role \"nobody\" does not exist");
    assert_eq!(sessions.run_as("outsider", "SELECT set_config('role', 'editor', true)"), ["editor"]);
    assert_eq!(sessions.run_as("outsider", "SELECT current_user"), ["outsider"]);
    // A superuser becomes anybody, and is then no superuser.
    let dropped = "SET SESSION AUTHORIZATION stranger; SHOW is_superuser; SELECT session_user, current_user";
    assert_eq!(sessions.run_as("tidemark", dropped), ["off", "stranger|stranger"]);
    assert_eq!(sessions.refused("tidemark", "SELECT * FROM hidden"), "42501 permission denied for table hidden");
    assert_eq!(sessions.run_as("tidemark", "RESET SESSION AUTHORIZATION; SHOW is_superuser"), ["on"]);
    assert_eq!(sessions.run_as("tidemark", "SET ROLE reader; RESET ALL; SELECT current_user"), ["reader"]);
    assert_eq!(
        sessions.run_as("tidemark", "SELECT count(*) FROM m; DISCARD ALL; SELECT current_user"),
        ["1", "tidemark"]
    );
    // What a block set, its rollback takes back.
    assert_eq!(
        sessions.run_as("tidemark", "BEGIN; SET ROLE reader; ROLLBACK; SELECT current_user; SHOW is_superuser"),
        ["tidemark", "on"]
    );
}

#[test]
fn the_memory_of_queries_is_bounded() {
    let mut sessions = Sessions::start(Config::default());
    let groups =
        "SELECT count(*) FROM (SELECT value, count(*) FROM generate_series(1, 1000000) AS value GROUP BY value)";
    let sort = "SELECT count(*) FROM (SELECT value FROM generate_series(1, 1000000) AS value ORDER BY value % 7, value OFFSET 1)";
    for setting in ["query_memory_max", "role_memory_max"] {
        sessions.run_as("tidemark", &format!("SET {setting} = '2MB'"));
        for query in [
            groups,
            sort,
            &format!("EXPLAIN ANALYZE {groups}"),
            &format!("SELECT current_user, n.* FROM ({groups}) AS n"),
        ] {
            assert_eq!(sessions.refused("tidemark", query), "53200 out of memory", "{setting}: {query}");
        }
        sessions.run_as("tidemark", "SELECT count(*) FROM generate_series(1, 1000)");
        sessions.run_as("tidemark", &format!("SET {setting} = 0"));
    }
    assert_eq!(sessions.run_as("tidemark", groups), ["1000000"]);
    sessions.run_as("tidemark", "CREATE ROLE small LOGIN; ALTER ROLE small SET query_memory_max = '2MB'");
    assert_eq!(sessions.refused("small", groups), "53200 out of memory");
    for change in ["SET query_memory_max = 0", "SELECT set_config('query_memory_max', '0', false)"] {
        assert_eq!(sessions.refused("small", change), "42501 permission denied to set parameter \"query_memory_max\"");
    }
    assert_eq!(
        sessions.refused("small", "ALTER ROLE small SET query_memory_max = 0"),
        "42501 permission denied to set parameter \"query_memory_max\""
    );
}

#[test]
fn roles_go_when_nothing_hangs_on_them() {
    let mut sessions = Sessions::start(Config::default());
    sessions.run_as("tidemark", SETUP);
    assert_eq!(
        sessions.refused("tidemark", "DROP ROLE owner"),
        "2BP01 role \"owner\" cannot be dropped because some objects depend on it"
    );
    sessions.run_as("tidemark", "REASSIGN OWNED BY owner TO tidemark; DROP OWNED BY owner");
    sessions.run_as("tidemark", "DROP ROLE owner");
    assert_eq!(sessions.run_as("reader", "SELECT v FROM w"), ["1"]);
    assert_eq!(sessions.refused("tidemark", "DROP ROLE tidemark"), "55006 current user cannot be dropped");
    assert_eq!(
        sessions.refused("tidemark", "DROP ROLE maker"),
        "2BP01 role \"maker\" cannot be dropped because some objects depend on it"
    );
    sessions.run_as("maker", "CREATE TABLE own (a int); CREATE VIEW own_view AS SELECT a FROM own");
    sessions.run_as("tidemark", "DROP OWNED BY maker; DROP ROLE maker");
    assert_eq!(sessions.refused("tidemark", "SELECT * FROM own"), "42P01 relation \"own\" does not exist");
    // A role that is gone does nothing more; another of its name is another.
    sessions.run_as("stranger", "SELECT 1");
    sessions.run_as("tidemark", "DROP ROLE stranger; CREATE ROLE stranger LOGIN SUPERUSER");
    assert_eq!(sessions.refused("stranger", "SELECT * FROM t"), "42704 role \"stranger\" does not exist");
    assert_eq!(sessions.refused("tidemark", "CREATE ROLE reader"), "42710 role \"reader\" already exists");
    assert_eq!(
        sessions.refused("tidemark", "GRANT member TO editor"),
        "0LP01 role \"member\" is a member of role \"editor\""
    );
}

#[test]
fn roles_and_rights_outlive_a_restart() {
    let root = tempfile::tempdir().expect("a directory that can be made");
    let data_dir = Some(root.path().display().to_string());
    let mut sessions = Sessions::start(Config { data_dir, scram_iterations: 4096, ..Config::default() });
    sessions.run_as(
        "tidemark",
        "CREATE ROLE owner LOGIN; GRANT CREATE ON SCHEMA public TO owner; CREATE ROLE reader LOGIN PASSWORD 'fish'; \
         ALTER ROLE reader SET statement_timeout = '7s'; SET ROLE owner; \
         CREATE MATERIALIZED VIEW m AS SELECT column1 AS k FROM (VALUES (1), (2)) AS v; \
         CREATE VIEW w AS SELECT k FROM m; GRANT SELECT ON m TO reader; RESET ROLE",
    );
    // Renamed, and with its readers replaced, it is the same object.
    sessions.run_as("owner", "ALTER MATERIALIZED VIEW m RENAME TO n");
    sessions.restart();
    assert_eq!(sessions.run_as("reader", "SELECT k FROM n ORDER BY 1; SHOW statement_timeout"), ["1", "2", "7s"]);
    assert_eq!(sessions.refused("reader", "SELECT k FROM w"), "42501 permission denied for view w");
    assert_eq!(sessions.refused("reader", "DROP VIEW w"), "42501 must be owner of view w");
    sessions.run_as("owner", "GRANT SELECT ON w TO reader; DROP VIEW w; CREATE VIEW w AS SELECT 3 AS k");
    assert_eq!(sessions.refused("reader", "SELECT k FROM w"), "42501 permission denied for view w");
    sessions.restart();
    // The oid of what was dropped may be another's now.
    assert_eq!(sessions.refused("reader", "SELECT k FROM w"), "42501 permission denied for view w");
    // From here on everybody needs a password.
    sessions.run_as("tidemark", "ALTER ROLE tidemark PASSWORD 'sesame'");
    sessions.restart();
    let refused = |user: &str| format!("28P01 password authentication failed for user \"{user}\"");
    assert_eq!(sessions.connect("tidemark", "fish").err(), Some(refused("tidemark")));
    assert_eq!(sessions.connect("nobody", "fish").err(), Some(refused("nobody")));
    assert_eq!(sessions.connect("owner", "fish").err(), Some(refused("owner")));
    sessions.connect("reader", "fish").expect("its password");
    let superuser = sessions.connect("tidemark", "sesame").expect("its password");
    let run = |text: &str| sessions.runtime.block_on(superuser.batch_execute(text)).map_err(said);
    assert!(run("ALTER ROLE tidemark PASSWORD NULL").expect_err("the last one").starts_with("55000 "));
    run("ALTER ROLE reader VALID UNTIL '2020-01-01'").expect("a superuser may");
    assert_eq!(sessions.connect("reader", "fish").err(), Some(refused("reader")));
    run("ALTER ROLE reader VALID UNTIL 'infinity' CONNECTION LIMIT 1").expect("a superuser may");
    let first = sessions.connect("reader", "fish").expect("its password");
    assert_eq!(sessions.connect("reader", "fish").err(), Some("53300 too many connections for role \"reader\"".into()));
    drop(first);
    run("REVOKE CONNECT ON DATABASE tidemark FROM PUBLIC").expect("a superuser may");
    let denied = "42501 permission denied for database \"tidemark\"";
    assert_eq!(sessions.connect("reader", "fish").err(), Some(denied.into()));
    run("ALTER ROLE reader NOLOGIN; GRANT CONNECT ON DATABASE tidemark TO reader").expect("a superuser may");
    let denied = "28000 role \"reader\" is not permitted to log in";
    assert_eq!(sessions.connect("reader", "fish").err(), Some(denied.into()));
}
