//! Views tick by tick: what each tick changes, what it refuses, and where watermarks stand.

use harness::script::Script;

#[test]
fn every_tick_does_what_the_script_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let _entered = runtime.enter();
    let mut wrong = Vec::new();
    for path in super::files("ticks", "txt") {
        let golden = std::fs::read_to_string(&path).expect("a readable file");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Script::parse(&golden).and_then(|script| script.run()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(found) if found == golden => {}
            Ok(found) if super::is_updating() => std::fs::write(&path, found).expect("a writable file"),
            Ok(found) => wrong.push(format!("{name}, {}", difference(&golden, &found))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The first step that differs, as the golden has it and as it came out.
fn difference(golden: &str, found: &str) -> String {
    let (golden, found): (Vec<_>, Vec<_>) = (golden.lines().collect(), found.lines().collect());
    let same = golden.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let begin = golden[..same].iter().rposition(|line| !line.starts_with('>')).unwrap_or(0);
    let outputs = |lines: &[&str]| {
        let outputs = lines[begin + 1..].iter().take_while(|line| line.starts_with('>'));
        outputs.map(|line| format!("  {line}\n")).collect::<String>()
    };
    format!("line {}: {}\nexpected\n{}found\n{}", same + 1, golden[begin], outputs(&golden), outputs(&found))
}
