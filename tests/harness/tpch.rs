//! The eight tables of TPC-H as they change: rows put in, written anew and deleted, as records of topics with keys.
//!
//! In: a seed and how many changes. Out: the same records every time. Values are drawn from the few that the queries ask
//! for, so that small tables already have an answer to each. Nothing holds the tables together: a line may come before
//! its order or outlive it, as it may in a real log.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::stream::Record;
use super::workload::Produced;

/// The nations that customers and suppliers are of; the queries ask for each.
const NATIONS: [i64; 6] = [FRANCE, GERMANY, CANADA, SAUDI_ARABIA, CHINA, BRAZIL];
const BRAZIL: i64 = 2;
const CANADA: i64 = 3;
const FRANCE: i64 = 6;
const GERMANY: i64 = 7;
const CHINA: i64 = 18;
const SAUDI_ARABIA: i64 = 20;

const REGION_NAMES: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];

/// Name and region of each nation.
const NATION_NAMES: [(&str, i64); 25] = [
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];

/// Brand, container, type and size of parts, as the queries want them together.
const PARTS: [(&str, &str, &str, i64); 8] = [
    ("Brand#23", "MED BOX", "ECONOMY ANODIZED STEEL", 9),
    ("Brand#12", "SM BOX", "PROMO BURNISHED COPPER", 3),
    ("Brand#34", "LG CASE", "SMALL PLATED BRASS", 15),
    ("Brand#23", "MED BAG", "PROMO PLATED STEEL", 5),
    ("Brand#45", "JUMBO JAR", "LARGE BRUSHED BRASS", 15),
    ("Brand#12", "SM CASE", "ECONOMY ANODIZED STEEL", 4),
    ("Brand#34", "LG PKG", "MEDIUM POLISHED TIN", 14),
    ("Brand#55", "WRAP CAN", "STANDARD BRUSHED BRASS", 49),
];

const COLORS: [&str; 3] = ["green", "forest", "ivory"];
const SEGMENTS: [&str; 3] = ["BUILDING", "AUTOMOBILE", "MACHINERY"];
const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const MODES: [&str; 5] = ["MAIL", "SHIP", "AIR", "AIR REG", "TRUCK"];
const INSTRUCTIONS: [&str; 2] = ["DELIVER IN PERSON", "NONE"];
const COUNTRY_CODES: [i64; 4] = [13, 31, 23, 40];
const WORDS: [&str; 6] = ["special", "requests", "quick", "Customer", "Complaints", "deposits"];

/// 1993-07-01 in days since 1970, and how many days of orders follow it.
const FIRST_ORDER_DAY: i64 = 8_582;
const ORDER_DAYS: i64 = 1_080;
/// 1995-06-17: what has been shipped by then is closed, what has been received is billed.
const CURRENT_DAY: i64 = 9_298;

/// How many keys each table has, whether there is a row or not.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    suppliers: i64,
    customers: i64,
    parts: i64,
    orders: i64,
}

/// The changes of a seed, in the order they were produced, each topic of so many partitions.
pub fn changes(seed: u64, count: usize, partitions: i32) -> Vec<Produced> {
    let scale = (count as i64 / 100).max(4);
    let sizes = Sizes { suppliers: 6 + scale / 8, customers: 6 + scale, parts: 8 + scale, orders: 4 * scale };
    let mut changes = Changes {
        rng: ChaCha8Rng::seed_from_u64(seed ^ 0x7bc4),
        sizes,
        partitions,
        records: Vec::with_capacity(count),
    };
    // What everything joins with is there early and changes seldom; when it does, many answers move at once.
    (0..5).for_each(|key| changes.put("region", key));
    NATIONS.iter().for_each(|key| changes.put("nation", *key));
    while changes.records.len() < count {
        changes.one();
    }
    changes.records
}

struct Changes {
    rng: ChaCha8Rng,
    sizes: Sizes,
    partitions: i32,
    records: Vec<Produced>,
}

impl Changes {
    fn one(&mut self) {
        let (table, keys) = match self.rng.random_range(0..1000) {
            0..4 => return self.flicker("region", 5),
            4..12 => return self.flicker("nation", 25),
            12..50 => ("supplier", self.sizes.suppliers),
            50..120 => ("customer", self.sizes.customers),
            120..200 => ("part", self.sizes.parts),
            200..320 => ("partsupp", self.sizes.parts * 4),
            320..500 => ("orders", self.sizes.orders),
            _ => ("lineitem", self.sizes.orders * 7),
        };
        let key = self.rng.random_range(0..keys);
        if self.rng.random_range(0..8) == 0 { self.delete(table, key) } else { self.put(table, key) }
    }

    /// A row of a small table goes, and comes back as it was.
    fn flicker(&mut self, table: &'static str, keys: i64) {
        let key = self.rng.random_range(0..keys);
        self.delete(table, key);
        for _ in 0..self.rng.random_range(0..4) {
            let order = self.rng.random_range(0..self.sizes.orders);
            self.put("orders", order);
        }
        self.put(table, key);
    }

    fn put(&mut self, table: &'static str, key: i64) {
        let row = match table {
            "region" => json!({"r_name": REGION_NAMES[key as usize], "r_comment": self.words()}),
            "nation" => {
                let (name, region) = NATION_NAMES[key as usize];
                json!({"n_name": name, "n_regionkey": region, "n_comment": self.words()})
            }
            "supplier" => self.supplier(key),
            "customer" => self.customer(key),
            "part" => self.part(key),
            "partsupp" => json!({
                "ps_availqty": self.rng.random_range(1..100),
                "ps_supplycost": self.money(100, 110),
                "ps_comment": self.words(),
            }),
            "orders" => self.order(key),
            _ => self.line(key),
        };
        self.push(table, key, Some(row));
    }

    fn delete(&mut self, table: &'static str, key: i64) {
        self.push(table, key, None);
    }

    fn push(&mut self, table: &'static str, key: i64, row: Option<Value>) {
        let identity = self.identity(table, key);
        let record = Record {
            of_other: false,
            partition: (key % i64::from(self.partitions)) as i32,
            skipped: 0,
            key: Some(identity.to_string()),
            payload: row.map(|row| row.to_string()),
            time_shift: 0,
        };
        self.records.push((table, record));
    }

    fn identity(&self, table: &str, key: i64) -> Value {
        match table {
            "region" => json!({"r_regionkey": key}),
            "nation" => json!({"n_nationkey": key}),
            "supplier" => json!({"s_suppkey": key}),
            "customer" => json!({"c_custkey": key}),
            "part" => json!({"p_partkey": key}),
            "partsupp" => json!({"ps_partkey": key / 4, "ps_suppkey": self.supplier_of(key / 4, key % 4)}),
            "orders" => json!({"o_orderkey": key}),
            _ => json!({"l_orderkey": key / 7, "l_linenumber": key % 7 + 1}),
        }
    }

    /// One of the four suppliers of a part.
    fn supplier_of(&self, part: i64, choice: i64) -> i64 {
        (part + choice) % self.sizes.suppliers
    }

    fn supplier(&mut self, key: i64) -> Value {
        json!({
            "s_name": format!("Supplier#{key:09}"),
            "s_address": self.words(),
            "s_nationkey": NATIONS[(key % 6) as usize],
            "s_phone": self.phone(),
            "s_acctbal": self.money(-100, 1000),
            "s_comment": self.words(),
        })
    }

    fn customer(&mut self, key: i64) -> Value {
        json!({
            "c_name": format!("Customer#{key:09}"),
            "c_address": self.words(),
            "c_nationkey": NATIONS[(key / 3 % 6) as usize],
            "c_phone": self.phone(),
            "c_acctbal": self.money(-100, 1000),
            "c_mktsegment": self.pick(&SEGMENTS),
            "c_comment": self.words(),
        })
    }

    fn part(&mut self, key: i64) -> Value {
        let (brand, container, of, size) = PARTS[(key % 8) as usize];
        json!({
            "p_name": format!("{} {}", self.pick(&COLORS), self.pick(&COLORS)),
            "p_mfgr": "Manufacturer#1",
            "p_brand": brand,
            "p_type": of,
            "p_size": size,
            "p_container": container,
            "p_retailprice": self.money(900, 1000),
            "p_comment": self.words(),
        })
    }

    fn order(&mut self, key: i64) -> Value {
        // Every third customer orders nothing.
        let customer = self.rng.random_range(0..self.sizes.customers) / 3 * 3 + self.rng.random_range(0..2);
        let day = order_day(key);
        json!({
            "o_custkey": customer,
            "o_orderstatus": if day < CURRENT_DAY { "F" } else { "O" },
            "o_totalprice": self.money(1000, 1100),
            "o_orderdate": date(day),
            "o_orderpriority": self.pick(&PRIORITIES),
            "o_clerk": "Clerk#000000001",
            "o_shippriority": 0,
            "o_comment": self.words(),
        })
    }

    fn line(&mut self, key: i64) -> Value {
        let order = key / 7;
        // Few parts, so that some have many lines; the lines of some orders are large.
        let part = self.rng.random_range(0..self.sizes.parts.min(64));
        let choice = self.rng.random_range(0..4);
        let quantity = if order % 4 == 0 { self.rng.random_range(45..51) } else { self.rng.random_range(1..31) };
        let ship = order_day(order) + self.rng.random_range(1..122);
        let commit = order_day(order) + self.rng.random_range(30..91);
        let receipt = ship + self.rng.random_range(1..31);
        let returned = if receipt <= CURRENT_DAY { self.pick(&["R", "A"]) } else { "N" };
        json!({
            "l_partkey": part,
            "l_suppkey": self.supplier_of(part, choice),
            "l_quantity": quantity,
            "l_extendedprice": self.money(900 * quantity, 1000 * quantity),
            "l_discount": format!("0.{:02}", self.rng.random_range(0..11)),
            "l_tax": format!("0.{:02}", self.rng.random_range(0..9)),
            "l_returnflag": returned,
            "l_linestatus": if ship > CURRENT_DAY { "O" } else { "F" },
            "l_shipdate": date(ship),
            "l_commitdate": date(commit),
            "l_receiptdate": date(receipt),
            "l_shipinstruct": self.pick(&INSTRUCTIONS),
            "l_shipmode": self.pick(&MODES),
            "l_comment": self.words(),
        })
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from.choose(&mut self.rng).expect("a list with entries")
    }

    fn words(&mut self) -> String {
        let (first, second, third) = (self.pick(&WORDS), self.pick(&WORDS), self.pick(&WORDS));
        format!("{first} {second} {third}")
    }

    fn money(&mut self, from: i64, to: i64) -> String {
        format!("{}.{:02}", self.rng.random_range(from..to), self.rng.random_range(0..100))
    }

    fn phone(&mut self) -> String {
        let code = COUNTRY_CODES.choose(&mut self.rng).expect("not empty");
        format!("{code}-{:07}", self.rng.random_range(0..10_000_000))
    }
}

/// The day of an order, which its key decides, so that its lines can be near it.
fn order_day(order: i64) -> i64 {
    FIRST_ORDER_DAY + order * 37 % ORDER_DAYS
}

fn date(day: i64) -> String {
    let date = arrow::temporal_conversions::date32_to_datetime(day as i32).expect("within chrono's range");
    date.format("%Y-%m-%d").to_string()
}
