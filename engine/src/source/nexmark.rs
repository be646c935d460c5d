//! A seeded stream of auction-site events after the Nexmark benchmark: people, auctions and bids as JSON.
//!
//! In: a seed and a rate. Out: one JSON object a call, written into the caller's buffer without allocating. The same
//! seed and configuration give the same bytes on every machine. Every fifty events hold one person, three auctions and
//! forty-six bids; bids crowd on a few recent auctions and bidders, so keys are as skewed as the benchmark's.
//!
//! Source: Tucker, Tufte, Papadimos and Maier, "NEXMark: A Benchmark for Queries over Data Streams", 2002. Proportions,
//! hot ratios and field names are those of the suites of Apache Beam and Flink.

/// Events in one turn of the rhythm: first the person, then the auctions, then the bids.
const CYCLE: u64 = 50;
const AUCTIONS_IN_CYCLE: u64 = 3;

const FIRST_PERSON_ID: u64 = 1_000;
const FIRST_AUCTION_ID: u64 = 1_000;
const FIRST_CATEGORY_ID: u64 = 10;
const CATEGORIES: u64 = 5;

/// Auctions that bids spread over, and people who bid or sell, each counted from the newest.
const OPEN_AUCTIONS: u64 = 100;
const ACTIVE_PEOPLE: u64 = 1_000;
/// References may run this far ahead of what was announced, so joins meet events in either order.
const AUCTION_LEAD: u64 = 10;
const PERSON_LEAD: u64 = 10;
/// One in so many references is spread out; the others go to the hot auction, seller or bidder of the moment.
const COLD_AUCTION: u64 = 2;
const COLD_SELLER: u64 = 4;
const COLD_BIDDER: u64 = 4;
/// A new hot auction or person every so many of them.
const HOT_SPAN: u64 = 100;

const DAY_MICROS: i64 = 86_400_000_000;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `{id, name, emailAddress, creditCard, city, state, dateTime, extra}`
    Person,
    /// `{id, itemName, description, initialBid, reserve, dateTime, expires, seller, category, extra}`
    Auction,
    /// `{auction, bidder, price, channel, url, dateTime, extra}`
    Bid,
}

/// How `dateTime` and `expires` are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// A string, `"2026-01-01T00:00:00.000Z"`.
    Iso8601,
    /// A number, ms since the Unix epoch.
    EpochMillis,
}

/// The shape of a stream.
#[derive(Debug, Clone)]
pub struct NexmarkConfig {
    /// Event time of the first event, µs since the Unix epoch, in the years 1970 to 9999. Events carry whole ms.
    pub first_event_time_micros: i64,
    /// Events of all kinds in one second of event time; zero counts as one.
    pub events_per_second: u64,
    /// How far an event's time may lie behind that of an event before it, µs.
    pub disorder_micros: i64,
    /// How times are written.
    pub time_format: TimeFormat,
    /// Bytes of a bid's `extra`, on average; 90 make a bid of 280 bytes.
    pub bid_extra_bytes: u64,
}

impl Default for NexmarkConfig {
    /// Ten thousand events a second from 2026-01-01 on, in order.
    fn default() -> Self {
        Self {
            first_event_time_micros: 1_767_225_600_000_000,
            events_per_second: 10_000,
            disorder_micros: 0,
            time_format: TimeFormat::Iso8601,
            bid_extra_bytes: 90,
        }
    }
}

/// Writes the events of one stream, one after the other, without end.
#[derive(Debug, Clone)]
pub struct NexmarkGenerator {
    config: NexmarkConfig,
    random: Random,
    /// How many events were written.
    count: u64,
}

impl NexmarkGenerator {
    /// The stream that `seed` and `config` determine.
    pub fn new(seed: u64, config: NexmarkConfig) -> Self {
        Self { config, random: Random(seed), count: 0 }
    }

    /// Appends the next event's JSON object to `out`, without a line end, and says what it is about.
    pub fn next(&mut self, out: &mut Vec<u8>) -> EventKind {
        let count = self.count;
        self.count += 1;
        match count % CYCLE {
            0 => {
                self.person(count, out);
                EventKind::Person
            }
            1..=AUCTIONS_IN_CYCLE => {
                self.auction(count, out);
                EventKind::Auction
            }
            _ => {
                self.bid(count, out);
                EventKind::Bid
            }
        }
    }

    /// How many events were written.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that the stream has reached: no later event lies below this less `disorder_micros`.
    pub fn event_time_micros(&self) -> i64 {
        self.undisturbed_micros(self.count)
    }

    fn bid(&mut self, count: u64, out: &mut Vec<u8>) {
        let random = &mut self.random;
        let newest = newest_auction(count);
        let auction =
            if random.below(COLD_AUCTION) > 0 { newest / HOT_SPAN * HOT_SPAN } else { random.auction(newest) };
        let newest = newest_person(count);
        let bidder =
            if random.below(COLD_BIDDER) > 0 { newest / HOT_SPAN * HOT_SPAN + 1 } else { random.person(newest) };

        number(out, "{\"auction\":", FIRST_AUCTION_ID + auction);
        number(out, ",\"bidder\":", FIRST_PERSON_ID + bidder);
        number(out, ",\"price\":", random.price());
        let hot = random.below(2) > 0;
        if hot {
            string(out, ",\"channel\":\"", random.pick(&CHANNELS));
            out.extend_from_slice(b"\",\"url\":\"https://www.nexmark.com/");
        } else {
            let channel = random.below(10_000);
            number(out, ",\"channel\":\"channel-", channel);
            out.extend_from_slice(b"\",\"url\":\"https://www.nexmark.com/");
        }
        for _ in 0..3 {
            random.letters(5, out);
            out.push(b'/');
        }
        out.extend_from_slice(b"item.htm?query=1");
        if !hot {
            number(out, "&channel_id=", random.below(1 << 30));
        }
        out.push(b'"');
        let micros = self.micros(count);
        self.time(",\"dateTime\":", micros, out);
        self.extra(self.config.bid_extra_bytes, out);
    }

    fn auction(&mut self, count: u64, out: &mut Vec<u8>) {
        let random = &mut self.random;
        let newest = newest_person(count);
        let seller = if random.below(COLD_SELLER) > 0 { newest / HOT_SPAN * HOT_SPAN } else { random.person(newest) };
        let opening = random.price();
        let reserve = opening + random.price();

        number(out, "{\"id\":", FIRST_AUCTION_ID + newest_auction(count));
        string(out, ",\"itemName\":\"", "");
        random.letters(20, out);
        out.extend_from_slice(b"\",\"description\":\"");
        random.letters(100, out);
        number(out, "\",\"initialBid\":", opening);
        number(out, ",\"reserve\":", reserve);
        // An auction stays open for about as long as it takes to open a hundred others.
        let spread = OPEN_AUCTIONS * CYCLE / AUCTIONS_IN_CYCLE;
        let open_micros = self.undisturbed_micros(count + spread) - self.undisturbed_micros(count);
        let length = 1_000 + self.random.below(2 * open_micros.max(1_000) as u64) as i64;
        let micros = self.micros(count);
        self.time(",\"dateTime\":", micros, out);
        self.time(",\"expires\":", micros + length, out);
        number(out, ",\"seller\":", FIRST_PERSON_ID + seller);
        number(out, ",\"category\":", FIRST_CATEGORY_ID + self.random.below(CATEGORIES));
        self.extra(150, out);
    }

    fn person(&mut self, count: u64, out: &mut Vec<u8>) {
        let random = &mut self.random;
        number(out, "{\"id\":", FIRST_PERSON_ID + newest_person(count));
        string(out, ",\"name\":\"", random.pick(&FIRST_NAMES));
        string(out, " ", random.pick(&LAST_NAMES));
        out.extend_from_slice(b"\",\"emailAddress\":\"");
        random.letters(7, out);
        out.push(b'@');
        random.letters(5, out);
        out.extend_from_slice(b".com\",\"creditCard\":\"");
        for group in 0..4 {
            if group > 0 {
                out.push(b' ');
            }
            digits(random.below(10_000), 4, out);
        }
        string(out, "\",\"city\":\"", random.pick(&CITIES));
        string(out, "\",\"state\":\"", random.pick(&STATES));
        out.push(b'"');
        let micros = self.micros(count);
        self.time(",\"dateTime\":", micros, out);
        self.extra(60, out);
    }

    fn undisturbed_micros(&self, count: u64) -> i64 {
        let elapsed = u128::from(count) * 1_000_000 / u128::from(self.config.events_per_second.max(1));
        self.config.first_event_time_micros.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }

    /// The time of event `count`: its place in the stream, or up to `disorder_micros` before that.
    fn micros(&mut self, count: u64) -> i64 {
        let behind = match u64::try_from(self.config.disorder_micros) {
            Ok(micros) if micros > 0 => self.random.below(micros + 1) as i64,
            _ => 0,
        };
        // Times are written in whole ms; rounding up keeps the bound on disorder.
        (self.undisturbed_micros(count).saturating_sub(behind).max(0) + 999) / 1_000 * 1_000
    }

    fn time(&self, key: &str, micros: i64, out: &mut Vec<u8>) {
        match self.config.time_format {
            TimeFormat::EpochMillis => number(out, key, micros.max(0) as u64 / 1_000),
            TimeFormat::Iso8601 => {
                string(out, key, "\"");
                timestamp(micros, out);
                out.push(b'"');
            }
        }
    }

    /// Closes the object with an `extra` of `average` bytes, a fifth more or less.
    fn extra(&mut self, average: u64, out: &mut Vec<u8>) {
        let spread = average / 5;
        let length = average - spread + self.random.below(2 * spread + 1);
        string(out, ",\"extra\":\"", "");
        self.random.letters(length as usize, out);
        out.extend_from_slice(b"\"}");
    }
}

/// The number, from zero, of the newest person when event `count` is written.
fn newest_person(count: u64) -> u64 {
    count / CYCLE
}

/// The number, from zero, of the newest auction when event `count` is written.
fn newest_auction(count: u64) -> u64 {
    (count / CYCLE * AUCTIONS_IN_CYCLE + (count % CYCLE).min(AUCTIONS_IN_CYCLE)).saturating_sub(1)
}

fn string(out: &mut Vec<u8>, lead: &str, text: &str) {
    out.extend_from_slice(lead.as_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, lead: &str, number: u64) {
    out.extend_from_slice(lead.as_bytes());
    let width = number.checked_ilog10().unwrap_or(0) as usize + 1;
    digits(number, width, out);
}

/// Appends the last `width` digits of `number`.
fn digits(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Appends `micros` as `2026-01-01T00:00:00.000Z`.
fn timestamp(micros: i64, out: &mut Vec<u8>) {
    let (days, within) = (micros.div_euclid(DAY_MICROS), micros.rem_euclid(DAY_MICROS) as u64 / 1_000);
    let (year, month, day) = civil_from_days(days as u64);
    let fields = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (within / 3_600_000, 2, b':'),
        (within / 60_000 % 60, 2, b':'),
        (within / 1_000 % 60, 2, b'.'),
        (within % 1_000, 3, b'Z'),
    ];
    for (value, width, after) in fields {
        digits(value, width, out);
        out.push(after);
    }
}

/// Year, month and day of a count of days since 1970-01-01.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// SplitMix64: small, and the same everywhere.
///
/// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number from zero up to, not including, `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    /// An auction among the open ones, `newest` being the last announced.
    fn auction(&mut self, newest: u64) -> u64 {
        let oldest = newest.saturating_sub(OPEN_AUCTIONS);
        oldest + self.below(newest - oldest + 1 + AUCTION_LEAD)
    }

    /// A person among the active ones, `newest` being the last announced.
    fn person(&mut self, newest: u64) -> u64 {
        let active = (newest + 1).min(ACTIVE_PEOPLE);
        newest + 1 - active + self.below(active + PERSON_LEAD)
    }

    /// A price in cents, from one dollar to a million, as many of each length.
    fn price(&mut self) -> u64 {
        let magnitude = 10u64.pow(2 + self.below(6) as u32);
        magnitude + self.below(9 * magnitude)
    }

    /// Appends `length` lower-case letters.
    fn letters(&mut self, length: usize, out: &mut Vec<u8>) {
        let end = out.len() + length;
        while out.len() < end {
            let bits = self.bits();
            let count = (end - out.len()).min(8);
            let letter = |byte: u8| b'a' + ((u16::from(byte) * 26) >> 8) as u8;
            out.extend_from_slice(&bits.to_le_bytes().map(letter)[..count]);
        }
    }
}

const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn events(seed: u64, config: &NexmarkConfig, count: usize) -> Vec<(EventKind, Vec<u8>)> {
        let mut generator = NexmarkGenerator::new(seed, config.clone());
        let next = |_| {
            let mut out = Vec::new();
            (generator.next(&mut out), out)
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn the_seed_decides_every_byte() {
        let config = NexmarkConfig { disorder_micros: 5_000_000, ..Default::default() };
        assert_eq!(events(7, &config, 500), events(7, &config, 500));
        assert_ne!(events(7, &config, 500), events(8, &config, 500));
    }

    #[test]
    fn events_are_objects_with_the_benchmarks_fields_in_its_proportions() {
        let mut counts = [0; 3];
        for (kind, json) in events(1, &NexmarkConfig::default(), 5_000) {
            let (index, keys) = match kind {
                EventKind::Person => (0, "id name emailAddress creditCard city state dateTime extra"),
                EventKind::Auction => {
                    (1, "id itemName description initialBid reserve dateTime expires seller category extra")
                }
                EventKind::Bid => (2, "auction bidder price channel url dateTime extra"),
            };
            counts[index] += 1;
            let Value::Object(event) = serde_json::from_slice(&json).expect("JSON") else { panic!("an object") };
            let mut keys: Vec<_> = keys.split(' ').collect();
            keys.sort_unstable();
            let mut found: Vec<_> = event.keys().map(String::as_str).collect();
            found.sort_unstable();
            assert_eq!(found, keys);
        }
        assert_eq!(counts, [100, 300, 4_600]);
    }

    #[test]
    fn references_meet_what_was_announced_and_half_of_the_bids_are_on_one_auction() {
        let mut auctions = 0;
        let mut hot = 0;
        let mut bids = 0;
        for (kind, json) in events(2, &NexmarkConfig::default(), 50_000) {
            let event: Value = serde_json::from_slice(&json).expect("JSON");
            match kind {
                EventKind::Auction => {
                    assert_eq!(event["id"], FIRST_AUCTION_ID + auctions);
                    auctions += 1;
                }
                EventKind::Bid => {
                    let auction = event["auction"].as_u64().expect("a number") - FIRST_AUCTION_ID;
                    assert!(auction < auctions + AUCTION_LEAD, "{auction} of {auctions}");
                    bids += 1;
                    hot += u64::from(auction == (auctions - 1) / HOT_SPAN * HOT_SPAN);
                }
                EventKind::Person => {}
            }
        }
        assert!((bids * 2 / 5..bids * 3 / 5).contains(&hot), "{hot} of {bids}");
    }

    #[test]
    fn times_advance_with_the_rate_and_lag_at_most_the_disorder() {
        for disorder_micros in [0, 2_000_000] {
            let config = NexmarkConfig {
                events_per_second: 1_000,
                disorder_micros,
                time_format: TimeFormat::EpochMillis,
                ..Default::default()
            };
            let (mut latest, mut disordered) = (0, false);
            for (count, (_, json)) in events(3, &config, 20_000).into_iter().enumerate() {
                let event: Value = serde_json::from_slice(&json).expect("JSON");
                let millis = event["dateTime"].as_i64().expect("a number");
                let undisturbed = config.first_event_time_micros / 1_000 + count as i64;
                assert!((undisturbed - disorder_micros / 1_000..=undisturbed).contains(&millis));
                disordered |= millis < latest;
                latest = latest.max(millis);
            }
            assert_eq!(disordered, disorder_micros > 0);
        }
    }

    #[test]
    fn both_time_formats_say_the_same() {
        let iso = NexmarkConfig { first_event_time_micros: 951_782_399_000_000, ..Default::default() };
        let millis = NexmarkConfig { time_format: TimeFormat::EpochMillis, ..iso.clone() };
        for ((_, iso), (_, millis)) in events(4, &iso, 50_000).into_iter().zip(events(4, &millis, 50_000)).step_by(97) {
            let iso: Value = serde_json::from_slice(&iso).expect("JSON");
            let millis: Value = serde_json::from_slice(&millis).expect("JSON");
            let text = iso["dateTime"].as_str().expect("a string");
            let parsed = chrono::DateTime::parse_from_rfc3339(text).expect("a timestamp");
            assert_eq!(parsed.timestamp_millis(), millis["dateTime"].as_i64().expect("a number"), "{text}");
        }
    }

    #[test]
    fn a_bid_takes_about_280_bytes() {
        let sizes: Vec<usize> = events(5, &NexmarkConfig::default(), 10_000)
            .into_iter()
            .filter(|(kind, _)| *kind == EventKind::Bid)
            .map(|(_, json)| json.len())
            .collect();
        let average = sizes.iter().sum::<usize>() / sizes.len();
        assert!((270..=290).contains(&average), "{average}");
    }
}
