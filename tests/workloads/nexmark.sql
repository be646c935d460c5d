-- Nexmark's queries 0 to 23 as materialized views. docs/nexmark.md says what is written otherwise than in the benchmark's Flink SQL,
-- and why. Where a query has windows, its view ends in "_final" once more: the same with EMIT ON WINDOW CLOSE.

CREATE SOURCE person (
  id bigint, name text, "emailAddress" text, "creditCard" text, city text, state text, "dateTime" timestamp, extra text,
  WATERMARK FOR "dateTime" AS "dateTime" - INTERVAL '4 seconds' IDLE TIMEOUT NEVER
) WITH (connector = 'kafka', bootstrap = 'localhost:1', topic = 'person') FORMAT JSON;

CREATE SOURCE auction (
  id bigint, "itemName" text, description text, "initialBid" bigint, reserve bigint, "dateTime" timestamp, expires timestamp,
  seller bigint, category bigint, extra text,
  WATERMARK FOR "dateTime" AS "dateTime" - INTERVAL '4 seconds' IDLE TIMEOUT NEVER
) WITH (connector = 'kafka', bootstrap = 'localhost:1', topic = 'auction') FORMAT JSON;

CREATE SOURCE bid (
  auction bigint, bidder bigint, price bigint, channel text, url text, "dateTime" timestamp, extra text,
  WATERMARK FOR "dateTime" AS "dateTime" - INTERVAL '4 seconds' IDLE TIMEOUT NEVER
) INCLUDE TIMESTAMP AS arrived
WITH (connector = 'kafka', bootstrap = 'localhost:1', topic = 'bid') FORMAT JSON;

CREATE SOURCE side_input (key bigint PRIMARY KEY, value text)
WITH (connector = 'kafka', bootstrap = 'localhost:1', topic = 'side_input') FORMAT JSON ENVELOPE UPSERT;

CREATE MATERIALIZED VIEW q0 AS
SELECT auction, bidder, price, "dateTime", extra FROM bid;

CREATE MATERIALIZED VIEW q1 AS
SELECT auction, bidder, 0.908 * price AS price, "dateTime", extra FROM bid;

CREATE MATERIALIZED VIEW q2 AS
SELECT auction, price FROM bid WHERE mod(auction, 123) = 0;

CREATE MATERIALIZED VIEW q3 AS
SELECT p.name, p.city, p.state, a.id
FROM auction a INNER JOIN person p ON a.seller = p.id
WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA');

CREATE MATERIALIZED VIEW q4 AS
SELECT q.category, avg(q.final) AS average
FROM (
  SELECT max(b.price) AS final, a.category FROM auction a, bid b
  WHERE a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires
  GROUP BY a.id, a.category) q
GROUP BY q.category;

CREATE MATERIALIZED VIEW q5 AS
SELECT bids.auction, bids.num
FROM (
  SELECT auction, count(*) AS num, window_start, window_end
  FROM TABLE(HOP(TABLE bid, DESCRIPTOR("dateTime"), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
  GROUP BY auction, window_start, window_end) AS bids
JOIN (
  SELECT max(num) AS most, window_start, window_end
  FROM (
    SELECT count(*) AS num, window_start, window_end
    FROM TABLE(HOP(TABLE bid, DESCRIPTOR("dateTime"), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
    GROUP BY auction, window_start, window_end) AS counts
  GROUP BY window_start, window_end) AS tops
ON bids.window_start = tops.window_start AND bids.window_end = tops.window_end AND bids.num >= tops.most;

CREATE MATERIALIZED VIEW q5_final AS
SELECT window_end, auction, num
FROM (
  SELECT auction, count(*) AS num, window_end, rank() OVER (PARTITION BY window_end ORDER BY count(*) DESC) AS place
  FROM hop(bid, "dateTime", INTERVAL '2 seconds', INTERVAL '10 seconds')
  GROUP BY auction, window_end) AS counts
WHERE place = 1
EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW q6 AS
SELECT q.seller,
       avg(q.price) OVER (PARTITION BY q.seller ORDER BY q."dateTime" ROWS BETWEEN 10 PRECEDING AND CURRENT ROW) AS avg_price
FROM (
  SELECT a.id, a.seller, b.price, b."dateTime",
         row_number() OVER (PARTITION BY a.id, a.seller ORDER BY b.price DESC) AS place
  FROM auction a, bid b
  WHERE a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires) AS q
WHERE q.place <= 1;

CREATE MATERIALIZED VIEW q7 AS
SELECT b.auction, b.price, b.bidder, b."dateTime", b.extra
FROM bid b
JOIN (
  SELECT max(price) AS top, window_end
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR("dateTime"), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end) AS tops
ON b.price = tops.top
WHERE b."dateTime" BETWEEN tops.window_end - INTERVAL '10' SECOND AND tops.window_end;

CREATE MATERIALIZED VIEW q8 AS
SELECT p.id, p.name, p.window_start
FROM (
  SELECT id, name, window_start, window_end
  FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR("dateTime"), INTERVAL '10' SECOND))
  GROUP BY id, name, window_start, window_end) AS p
JOIN (
  SELECT seller, window_start, window_end
  FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR("dateTime"), INTERVAL '10' SECOND))
  GROUP BY seller, window_start, window_end) AS a
ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end;

CREATE MATERIALIZED VIEW q8_final AS
SELECT p.id, p.name, p.window_start, p.window_end
FROM (
  SELECT id, name, window_start, window_end
  FROM tumble(person, "dateTime", INTERVAL '10 seconds') GROUP BY id, name, window_start, window_end) AS p
JOIN (
  SELECT seller, window_start, window_end
  FROM tumble(auction, "dateTime", INTERVAL '10 seconds') GROUP BY seller, window_start, window_end) AS a
ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end
EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW q9 AS
SELECT id, "itemName", description, "initialBid", reserve, "dateTime", expires, seller, category, extra,
       auction, bidder, price, "bid_dateTime", bid_extra
FROM (
  SELECT a.*, b.auction, b.bidder, b.price, b."dateTime" AS "bid_dateTime", b.extra AS bid_extra,
         row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b."dateTime" ASC) AS place
  FROM auction a, bid b
  WHERE a.id = b.auction AND b."dateTime" BETWEEN a."dateTime" AND a.expires) AS ranked
WHERE place <= 1;

CREATE MATERIALIZED VIEW q10 AS
SELECT auction, bidder, price, "dateTime", extra,
       to_char("dateTime", 'YYYY-MM-DD') AS dt, to_char("dateTime", 'HH24:MI') AS hm
FROM bid;

CREATE MATERIALIZED VIEW q11 AS
SELECT bidder, count(*) AS bid_count,
       session_start("dateTime", INTERVAL '10' SECOND) AS starttime, session_end("dateTime", INTERVAL '10' SECOND) AS endtime
FROM bid
GROUP BY bidder, session("dateTime", INTERVAL '10' SECOND);

CREATE MATERIALIZED VIEW q11_final AS
SELECT bidder, count(*) AS bid_count, window_start, window_end
FROM session(bid, "dateTime", INTERVAL '10 seconds', bidder)
GROUP BY bidder, window_start, window_end
EMIT ON WINDOW CLOSE;

CREATE MATERIALIZED VIEW q12 AS
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(arrived), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end;

CREATE MATERIALIZED VIEW q13 AS
SELECT b.auction, b.bidder, b.price, b."dateTime", s.value
FROM bid b JOIN side_input s ON mod(b.auction, 10000) = s.key;

CREATE MATERIALIZED VIEW q14 AS
SELECT auction, bidder, 0.908 * price AS price,
       CASE
         WHEN extract(hour FROM "dateTime") >= 8 AND extract(hour FROM "dateTime") <= 18 THEN 'dayTime'
         WHEN extract(hour FROM "dateTime") <= 6 OR extract(hour FROM "dateTime") >= 20 THEN 'nightTime'
         ELSE 'otherTime'
       END AS "bidTimeType",
       "dateTime", extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
FROM bid
WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;

CREATE MATERIALIZED VIEW q15 AS
SELECT to_char(date_trunc('day', "dateTime"), 'YYYY-MM-DD') AS day, count(*) AS total_bids,
       count(*) FILTER (WHERE price < 10000) AS rank1_bids,
       count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
       count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
       count(DISTINCT bidder) AS total_bidders,
       count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
       count(DISTINCT auction) AS total_auctions,
       count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
FROM bid
GROUP BY date_trunc('day', "dateTime");

CREATE MATERIALIZED VIEW q16 AS
SELECT channel, to_char(date_trunc('day', "dateTime"), 'YYYY-MM-DD') AS day, max(to_char("dateTime", 'HH24:MI')) AS minute,
       count(*) AS total_bids,
       count(*) FILTER (WHERE price < 10000) AS rank1_bids,
       count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
       count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
       count(DISTINCT bidder) AS total_bidders,
       count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
       count(DISTINCT auction) AS total_auctions,
       count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions
FROM bid
GROUP BY channel, date_trunc('day', "dateTime");

CREATE MATERIALIZED VIEW q17 AS
SELECT auction, to_char(date_trunc('day', "dateTime"), 'YYYY-MM-DD') AS day, count(*) AS total_bids,
       count(*) FILTER (WHERE price < 10000) AS rank1_bids,
       count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
       count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
       min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price
FROM bid
GROUP BY auction, date_trunc('day', "dateTime");

CREATE MATERIALIZED VIEW q18 AS
SELECT auction, bidder, price, channel, url, "dateTime", extra
FROM (SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY "dateTime" DESC) AS rank_number FROM bid) AS ranked
WHERE rank_number <= 1;

CREATE MATERIALIZED VIEW q19 AS
SELECT auction, bidder, price, channel, url, "dateTime", extra, rank_number
FROM (SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid) AS ranked
WHERE rank_number <= 10;

CREATE MATERIALIZED VIEW q20 AS
SELECT auction, bidder, price, channel, url, b."dateTime" AS "bid_dateTime", b.extra AS bid_extra,
       "itemName", description, "initialBid", reserve, a."dateTime" AS "auction_dateTime", expires, seller, category,
       a.extra AS auction_extra
FROM bid b INNER JOIN auction a ON b.auction = a.id
WHERE a.category = 10;

CREATE MATERIALIZED VIEW q21 AS
SELECT auction, bidder, price, channel,
       CASE
         WHEN lower(channel) = 'apple' THEN '0'
         WHEN lower(channel) = 'google' THEN '1'
         WHEN lower(channel) = 'facebook' THEN '2'
         WHEN lower(channel) = 'baidu' THEN '3'
         ELSE (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2]
       END AS channel_id
FROM bid
WHERE (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2] IS NOT NULL
   OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu');

CREATE MATERIALIZED VIEW q22 AS
SELECT auction, bidder, price, channel,
       split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3
FROM bid;

CREATE MATERIALIZED VIEW q23 AS
SELECT bidder, price, channel, url, b.extra AS bid_extra,
       p.id AS person_id, name, "emailAddress", "creditCard", city, state, p.extra AS person_extra,
       "itemName", description, "initialBid", reserve, a."dateTime" AS "auction_dateTime", expires, seller, category,
       a.extra AS auction_extra
FROM bid b JOIN person p ON p.id = b.bidder JOIN auction a ON a.seller = b.bidder;
