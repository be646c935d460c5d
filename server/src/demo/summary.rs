//! The end of a demo: what happened, and whether every event is accounted for.

use std::time::Duration;

use super::display::table;
use super::generator::Produced;
use crate::server::Server;

/// What the summary shows of the views.
const SHOWN: [(&str, &str); 3] = [
    ("the newest windows", "SELECT * FROM bids_per_10s ORDER BY window_start DESC LIMIT 5"),
    ("channels", "SELECT * FROM channel_stats ORDER BY bids DESC LIMIT 5"),
    ("sources", "SELECT name, accepted, late, errors, tombstones, skipped FROM tidemark.sources ORDER BY name"),
];

/// Prints the summary and holds the counts against what was produced.
///
/// # Errors
/// One sentence naming the source whose counts do not add up, or the view that does not.
pub async fn print_and_check(server: &Server, produced: &Produced, elapsed: Duration) -> Result<(), String> {
    let total = produced.total();
    let seconds = elapsed.as_secs_f64();
    println!(
        "\n{total} events in {seconds:.1} s ({:.0}/s), {} ticks",
        total as f64 / seconds,
        server.database.engine().snapshot().tick
    );
    for (title, query) in SHOWN {
        let rows = server.database.select(query).await.map_err(|e| e.to_string())?;
        println!("\n{title}:\n{}", table(&rows));
    }
    let snapshot = server.database.engine().snapshot();
    for (source, wanted) in [("people", produced.people), ("auctions", produced.auctions), ("bids", produced.bids)] {
        let counts = snapshot.source(source).map(|s| s.counts()).unwrap_or_default();
        if counts.records() != wanted {
            return Err(format!("{wanted} records were produced for {source}, {} are accounted for", counts.records()));
        }
    }
    let bids = snapshot.source("bids").map_or(0, |s| s.counts().accepted);
    for (view, column) in [("bids_per_10s", "bids"), ("channel_stats", "bids")] {
        let query = format!("SELECT CAST(coalesce(sum({column}), 0) AS bigint) AS n FROM {view}");
        let rows = server.database.select(&query).await.map_err(|e| e.to_string())?;
        let found = arrow::util::display::array_value_to_string(rows[0].column(0), 0).map_err(|e| e.to_string())?;
        if found != bids.to_string() {
            return Err(format!("{bids} bids were accepted, but {view} holds {found}"));
        }
    }
    println!("\nEvery event is accounted for: accepted + late + errors = produced, and the views add up.");
    Ok(())
}
