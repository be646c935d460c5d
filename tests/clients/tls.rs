//! TLS, as psql asks for it.

use std::path::Path;
use std::process::Command;

use server::config::{Config, Secret};
use server::server::Server;
use tokio::runtime::Runtime;

use super::{are_installed, run};

const PASSWORD: &str = "sesame";

/// Makes a certificate for localhost, and its key.
fn certificate(directory: &Path, algorithm: &[&str]) {
    let made = Command::new("openssl")
        .current_dir(directory)
        .args(["req", "-x509", "-newkey"])
        .args(algorithm)
        .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn psql(server: &Server, root: &Path, more: &str) -> Result<String, String> {
    let conninfo = format!(
        // The last of a keyword counts.
        "host=localhost hostaddr=127.0.0.1 port={} user=tidemark dbname=tidemark password={PASSWORD} sslrootcert={} {more}",
        server.pg_addr.port(),
        root.display(),
    );
    let mut command = Command::new("psql");
    command.args(["-X", "-At", &conninfo, "-c", "SELECT 1 + 1", "-c", "\\conninfo"]);
    run(command.env("PGCONNECT_TIMEOUT", "20").env("LC_ALL", "C.UTF-8"))
}

#[test]
fn psql_checks_the_certificate_and_binds_its_password_to_it() {
    if !are_installed(&["psql", "openssl"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory that can be made");
    certificate(directory.path(), &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let runtime: Runtime = server::runtime().worker_threads(2).build().expect("a runtime");
    let config = Config {
        pg_addr: "0.0.0.0:0".parse().expect("an address"),
        http_addr: "127.0.0.1:0".parse().expect("an address"),
        password: Some(Secret::new(PASSWORD)),
        tls_cert: Some(cert.clone()),
        tls_key: Some(key),
        tls_required: true,
        ..Config::default()
    };
    let server = runtime.block_on(Server::start(config)).expect("the server starts");
    for (options, version) in [
        ("sslmode=verify-full channel_binding=require", "TLSv1.3"),
        ("sslmode=verify-full channel_binding=disable ssl_max_protocol_version=TLSv1.2", "TLSv1.2"),
        ("sslmode=verify-ca channel_binding=require ssl_max_protocol_version=TLSv1.2", "TLSv1.2"),
    ] {
        let said = psql(&server, &cert, options).unwrap_or_else(|error| panic!("{options}: {error}"));
        assert!(said.starts_with("2\n") && said.contains(version), "{options}: {said}");
    }
    // From this machine a client may go without; from another it may not.
    let said = psql(&server, &cert, "sslmode=disable").expect("loopback");
    assert!(!said.contains("TLS"), "{said}");
    if let Some(address) = own_address() {
        let refused = psql(&server, &cert, &format!("sslmode=disable hostaddr={address}")).expect_err("in clear text");
        assert!(refused.contains("by TLS alone"), "{refused}");
        psql(&server, &cert, &format!("sslmode=require hostaddr={address}")).expect("encrypted");
    }
    let wrong = psql(&server, &cert, "sslmode=verify-full password=wrong").expect_err("a wrong password");
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    // Another certificate is shown once it is read, to new connections.
    let old = directory.path().join("old.pem");
    std::fs::copy(&cert, &old).expect("it can be copied");
    certificate(directory.path(), &["rsa:2048"]);
    psql(&server, &old, "sslmode=verify-full").expect("the old one until it is read again");
    server.reload();
    psql(&server, &cert, "sslmode=verify-full channel_binding=require").expect("the new one");
    let refused = psql(&server, &old, "sslmode=verify-full").expect_err("the old one is gone");
    assert!(refused.contains("certificate verify failed"), "{refused}");
    // What cannot be read changes nothing.
    std::fs::write(&cert, "no certificate").expect("writable");
    server.reload();
    psql(&server, &old, "sslmode=require").expect_err("another root");
    runtime.block_on(server.stop());
}

/// An address of this machine that is not loopback, if it has one.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: only the route is looked up.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}
