//! The house's structure, held by a test: which crate may use which, which module may use which, and who may name the
//! libraries that only one room should know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The engine's floors, from the ground up. A module uses modules on its own floor or below; data climbs.
const FLOORS: [&[&str]; 8] = [
    &["error", "time"],
    &["delta", "row_error"],
    &["source", "format"],
    &["ingest", "state", "checkpoint"],
    &["operator", "view"],
    &["dataflow"],
    &["tick"],
    &["engine"],
];

/// A library, and the only places whose code may name it.
const ROOMS: [(&str, &[&str]); 3] = [
    ("rdkafka", &["engine/src/source/"]),
    ("object_store", &["engine/src/checkpoint/bucket.rs"]),
    ("pgwire", &["server/src/pg/"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut open = vec![root().join(folder)];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(&path).expect("readable")));
        }
    }
    assert!(!files.is_empty(), "no Rust files below {folder}");
    files.sort();
    files
}

/// The code of a file, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let after = line[at + word.len()..].starts_with("::");
        before && after
    })
}

#[test]
fn crates_depend_one_way() {
    for (manifest, forbidden) in [
        ("engine/Cargo.toml", &["sql.workspace", "server.workspace", "harness.workspace"][..]),
        ("sql/Cargo.toml", &["server.workspace", "harness.workspace"][..]),
        ("server/Cargo.toml", &["harness.workspace"][..]),
    ] {
        let text = std::fs::read_to_string(root().join(manifest)).expect("readable");
        for dependency in forbidden {
            assert!(!text.contains(dependency), "{manifest} must not depend on {dependency}");
        }
    }
}

#[test]
fn modules_of_the_engine_do_not_climb() {
    let floor: BTreeMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(floor, modules)| modules.iter().map(move |m| (*m, floor))).collect();
    let mut climbs = Vec::new();
    for (name, text) in rust_files("engine/src") {
        let inside = name.trim_start_matches("engine/src/");
        let module = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if module == "lib" || inside.contains("tests") {
            continue;
        }
        let own = *floor.get(module).unwrap_or_else(|| panic!("{name}: give the module {module} a floor"));
        for (line, code) in code(&text) {
            for (used, there) in &floor {
                if *there > own && code.contains(&format!("crate::{used}::")) {
                    climbs.push(format!("{name}:{line} uses {used}"));
                }
            }
        }
    }
    assert_eq!(climbs, Vec::<String>::new(), "modules that use a higher floor");
}

#[test]
fn libraries_stay_in_their_rooms() {
    let mut strays = Vec::new();
    for folder in ["engine/src", "sql/src", "server/src"] {
        for (name, text) in rust_files(folder) {
            for (library, rooms) in ROOMS {
                if rooms.iter().any(|room| name.starts_with(room)) {
                    continue;
                }
                let found = code(&text).filter(|(_, code)| names(code, library));
                strays.extend(found.map(|(line, _)| format!("{name}:{line} names {library}")));
            }
        }
    }
    assert_eq!(strays, Vec::<String>::new(), "libraries named outside their rooms");
}

#[test]
fn unsafe_code_is_in_one_module() {
    let mut allowed = Vec::new();
    for folder in ["engine/src", "sql/src", "server/src"] {
        for (name, text) in rust_files(folder) {
            if code(&text).any(|(_, code)| code.contains("allow(unsafe_code)")) {
                allowed.push(name);
            }
        }
    }
    assert!(allowed.len() <= 1, "unsafe code is allowed in more than one module: {allowed:?}");
}
