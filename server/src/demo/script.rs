//! What the demo registers, and what it tells the user.

use crate::server::Server;

/// The topics and their partitions. The embedded broker keeps about 5 MB of each partition, so the busy topic has more.
pub const TOPICS: [(&str, i32); 3] = [("person", 1), ("auction", 2), ("bid", 8)];

/// The sources and views.
pub fn statements(bootstrap: &str) -> String {
    format!(
        "CREATE SOURCE bids (
  auction bigint, bidder bigint, price bigint, channel text, url text, \"dateTime\" timestamp, extra text,
  WATERMARK FOR \"dateTime\" AS \"dateTime\" - INTERVAL '2 seconds'
) WITH (connector = 'kafka', bootstrap = '{bootstrap}', topic = 'bid', start = 'earliest') FORMAT JSON;

CREATE SOURCE auctions (
  id bigint, \"itemName\" text, \"initialBid\" bigint, reserve bigint, \"dateTime\" timestamp, expires timestamp,
  seller bigint, category bigint,
  WATERMARK FOR \"dateTime\" AS \"dateTime\" - INTERVAL '2 seconds'
) WITH (connector = 'kafka', bootstrap = '{bootstrap}', topic = 'auction', start = 'earliest') FORMAT JSON;

CREATE SOURCE people (
  id bigint, name text, \"emailAddress\" text, city text, state text, \"dateTime\" timestamp,
  WATERMARK FOR \"dateTime\" AS \"dateTime\" - INTERVAL '2 seconds'
) WITH (connector = 'kafka', bootstrap = '{bootstrap}', topic = 'person', start = 'earliest') FORMAT JSON;

CREATE MATERIALIZED VIEW bids_per_10s AS
  SELECT window_start, window_end, count(*) AS bids, sum(price) AS volume, max(price) AS top_price
  FROM tumble(bids, \"dateTime\", INTERVAL '10 seconds')
  GROUP BY window_start, window_end;

CREATE MATERIALIZED VIEW hot_auctions AS
  SELECT window_start, window_end, auction, count(*) AS bids, max(price) AS top_price
  FROM hop(bids, \"dateTime\", INTERVAL '2 seconds', INTERVAL '10 seconds')
  GROUP BY window_start, window_end, auction
  HAVING count(*) >= 50
  EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW channel_stats AS
  SELECT channel, count(*) AS bids, avg(price) AS average_price, count(*) FILTER (WHERE price >= 1000000) AS big_bids
  FROM bids
  GROUP BY channel;

CREATE MATERIALIZED VIEW auctions_per_category AS
  SELECT category, count(*) AS auctions, max(reserve) AS top_reserve FROM auctions GROUP BY category;

CREATE MATERIALIZED VIEW people_per_state AS
  SELECT state, count(*) AS people FROM people GROUP BY state;
"
    )
}

/// What the demo says once it runs.
pub fn greeting(server: &Server, bootstrap: &str) -> String {
    let (pg, http) = (server.pg_addr, server.http_addr);
    format!(
        "Tidemark is running, with live auction events on an embedded Kafka broker.

  psql -h {} -p {} -d tidemark            or:  tidemark sql -p {}

Try:
  SELECT * FROM bids_per_10s ORDER BY window_start DESC LIMIT 5;
  SELECT * FROM hot_auctions ORDER BY window_end DESC, bids DESC LIMIT 10;
  SHOW SOURCES;   SHOW MATERIALIZED VIEWS;   EXPLAIN MATERIALIZED VIEW hot_auctions;

Kafka clients: {bootstrap} (topics person, auction, bid)    Metrics: http://{http}/metrics    Ctrl-C stops.
",
        pg.ip(),
        pg.port(),
        pg.port(),
    )
}
