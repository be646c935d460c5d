//! Our DDL in front of sqlparser.
