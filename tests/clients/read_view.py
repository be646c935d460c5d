"""Reads the tutorial's views as a program would; fails at the first surprise."""

import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import psycopg
from psycopg.rows import dict_row

UTC = timezone.utc
TEN = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
EVERY = [
    (TEN, TEN + timedelta(minutes=1), "ann", 1, Decimal("12.50")),
    (TEN, TEN + timedelta(minutes=1), "bob", 1, Decimal("7.25")),
    (TEN + timedelta(minutes=1), TEN + timedelta(minutes=2), "ann", 1, Decimal("30.00")),
]


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


def main(port):
    where = f"host=127.0.0.1 port={port} user=tidemark dbname=tidemark"
    with psycopg.connect(where, autocommit=True) as connection:
        # The README's program.
        rows = connection.execute("SELECT customer, revenue FROM per_minute WHERE revenue > %s", (10,)).fetchall()
        same(sorted(rows), [("ann", Decimal("12.50")), ("ann", Decimal("30.00"))])

        every = "SELECT * FROM per_minute ORDER BY window_start, customer"
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                same(cursor.execute(every).fetchall(), EVERY)
                names = [column.name for column in cursor.description]
                same(names, ["window_start", "window_end", "customer", "orders", "revenue"])
                # Parameters of many types, as Python has them.
                for condition, parameter, count in [
                    ("customer = %s", "ann", 2),
                    ("revenue >= %s", Decimal("12.5"), 2),
                    ("revenue > %s", 7.25, 2),
                    ("orders = %s", 1, 3),
                    ("orders < %s", 2**40, 3),
                    ("window_start = %s", TEN, 2),
                    ("window_start < %s", TEN + timedelta(seconds=1), 2),
                    ("window_start::date = %s", date(2026, 1, 15), 3),
                    ("customer = ANY(%s)", ["ann", "bob", "cyd"], 3),
                    ("(orders = 1) = %s", True, 3),
                ]:
                    query = f"SELECT count(*) FROM per_minute WHERE {condition}"
                    same((condition, cursor.execute(query, (parameter,)).fetchone()), (condition, (count,)))

        # A statement that is used again and again becomes a prepared one; its results are the same.
        for _ in range(8):
            rows = connection.execute("SELECT revenue FROM per_minute WHERE customer = %s", ("bob",), prepare=True)
            same(rows.fetchall(), [(Decimal("7.25"),)])

        # Values of each kind, both ways.
        query = "SELECT %b::bigint, %b::text, %b::float8, %b::bool, %b::timestamptz, %b::bytea"
        values = (-5, "naïve 'quoted'", 1.5, True, TEN, b"\x00\xff")
        same(connection.cursor(binary=True).execute(query, values).fetchone(), values)
        nulls = (None,) * 6
        same(connection.execute(query.replace("%b", "%s"), nulls).fetchone(), nulls)

        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute("SELECT partition, \"offset\", reason, payload FROM orders_errors").fetchone()
            same((row["partition"], row["offset"], row["reason"]), (0, 3, "wrong_type"))
            assert b'"oops"' in bytes(row["payload"]), row

        with connection.cursor() as cursor, cursor.copy("COPY per_minute (customer, orders) TO STDOUT") as copy:
            same(sorted(copy.rows()), [("ann", "1"), ("ann", "1"), ("bob", "1")])

        try:
            connection.execute("SELECT nope FROM per_minute")
            raise AssertionError("an unknown column is an error")
        except psycopg.errors.UndefinedColumn as error:
            same(error.sqlstate, "42703")

        # Many queries in one round trip.
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int + count(*) FROM per_minute", (n,)) for n in range(20)]
        same([cursor.fetchone()[0] for cursor in cursors], [n + 3 for n in range(20)])

    # A transaction, with a cursor on the server's side.
    with psycopg.connect(where) as connection:
        with connection.cursor(name="rows") as cursor:
            cursor.itersize = 2
            cursor.execute(every)
            same(list(cursor), EVERY)
        same(connection.execute("SELECT count(*) FROM final_per_minute").fetchone(), (1,))

    # Writes, in transactions as psycopg begins them by itself.
    with psycopg.connect(where) as connection, psycopg.connect(where, autocommit=True) as other:
        other.execute("CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, at timestamptz, tags text[])")
        count = "SELECT count(*) FROM people"
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO people VALUES (%s, %s, %s, %s)", [(1, "ann", TEN, ["a"]), (2, "bob", None, None)])
        for format, types in [("TEXT", None), ("BINARY", ["int4", "text", "timestamptz", "text[]"])]:
            with connection.cursor() as cursor:
                with cursor.copy(f"COPY people FROM STDIN (FORMAT {format})") as copy:
                    if types:
                        copy.set_types(types)
                    for n in range(1000):
                        copy.write_row((n + (10_000 if types else 100_000), f"tab\t{n}", TEN, ["x", "y"]))
                same(cursor.rowcount, 1000)
        same(connection.execute(count).fetchone(), (2002,))
        same(other.execute(count).fetchone(), (0,))
        connection.commit()
        same(other.execute(count).fetchone(), (2002,))
        same(other.execute("SELECT * FROM people WHERE id = 10007").fetchone(), (10007, "tab\t7", TEN, ["x", "y"]))
        try:
            with connection.transaction():
                connection.execute("UPDATE people SET name = 'mine' WHERE id = 1")
                other.execute("UPDATE people SET name = 'theirs' WHERE id = 1")
            raise AssertionError("two writers of one row")
        except psycopg.errors.SerializationFailure:
            pass
        connection.rollback()
        same(connection.execute("SELECT name FROM people WHERE id = 1").fetchone(), ("theirs",))
    print("done")


main(int(sys.argv[1]))
