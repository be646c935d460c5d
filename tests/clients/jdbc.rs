//! A Java program with pgjdbc.

use std::process::Command;

use super::tutorial::Tutorial;
use super::{are_installed, beside, kept, run, skip};

const PGJDBC: &str = "org.postgresql:postgresql:42.7.7";

/// The driver and the compiled program as a class path; `None`, after a line on stderr, where that is not possible.
fn class_path() -> Option<String> {
    if !are_installed(&["java", "javac", "mvn"]) {
        return None;
    }
    let directory = kept("pgjdbc");
    let driver = directory.join("postgresql-42.7.7.jar");
    if !driver.is_file() {
        let plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";
        let mut maven = Command::new("mvn");
        maven.args(["-B", "-q", plugin, &format!("-Dartifact={PGJDBC}")]);
        maven.arg(format!("-DoutputDirectory={}", directory.display())).current_dir(std::env::temp_dir());
        if let Err(error) = run(&mut maven) {
            skip(&format!("pgjdbc cannot be fetched, so nothing was tested with it: {error}"));
            return None;
        }
    }
    let mut compiler = Command::new("javac");
    compiler.arg("-d").arg(&directory).arg("-cp").arg(&driver).arg(beside("clients/ReadView.java"));
    run(&mut compiler).expect("the program compiles");
    Some(format!("{}:{}", directory.display(), driver.display()))
}

#[test]
fn a_program_reads_views() {
    let Some(class_path) = class_path() else { return };
    let tutorial = Tutorial::declared();
    let port = tutorial.served.port().to_string();
    let mut java = Command::new("java");
    java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &class_path, "ReadView", &port]);
    let said = run(&mut java).expect("the program succeeds");
    assert!(said.ends_with("done\n"), "{said}");
}
