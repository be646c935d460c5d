#!/usr/bin/env bash
# Records how a real PostgreSQL writes the values of types.cases and styles.cases, for the tests to compare with.
#   types.tsv: type, input, text, binary in hexadecimal      styles.tsv: setting, its value, type, input, text
# Usage: record.sh <connection URL>
set -euo pipefail
cd "$(dirname "$0")"
script=$(mktemp)
trap 'rm -f "$script"' EXIT
record() { psql "$1" -X -q -A -t -F $'\t' -v ON_ERROR_STOP=1 -f "$script"; }

echo "set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set extra_float_digits = 1;" > "$script"
while IFS='|' read -r type value; do
  name=${type//\"/} quoted=${value//\'/\'\'}
  cat >> "$script" <<SQL
select typsend::text as send from pg_type where typname = '$name' \\gset
select '$name', '$quoted', '$quoted'::$type, encode(:send('$quoted'::$type), 'hex');
SQL
done < types.cases
record "$1" > types.tsv

echo "set timezone = 'UTC';" > "$script"
while IFS='|' read -r setting type value; do
  name=${setting%%=*} set_to=${setting#*=}
  cat >> "$script" <<SQL
set $name = '$set_to';
select '$name', '$set_to', '$type', '$value', '$value'::$type;
reset $name;
SQL
done < styles.cases
record "$1" > styles.tsv
