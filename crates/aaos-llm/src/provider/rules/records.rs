//! Tables: the rows of a CSV or JSON text under the names of their columns, what they add up to, and what is in them.
//!
//! A cell is kept as it is written. A text whose rows do not have the columns that its first row names is no table.

use super::{
    compute::Found,
    extract::{csv_rows, separator},
};
use serde_json::Value;

/// Most rows of one table.
const ROWS_MAX: usize = 100_000;
/// Most columns that a digest speaks of, and most values it lists for one.
const COLUMNS_SHOWN_MAX: usize = 20;
const VALUES_SHOWN_MAX: usize = 6;
/// Most digits after the decimal point, and before it, that are added up.
const DECIMALS_MAX: usize = 9;
const WHOLE_DIGITS_MAX: usize = 20;

/// A document that is a table: a list of objects, or one object.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Rows {
    Many(Vec<Fields>),
    One(Fields),
}

/// An object's fields in the order they stand.
struct Fields(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> serde::de::Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

/// Rows under a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The names of the columns.
    pub(super) head: Vec<String>,
    /// The rows, each with a cell for every column.
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads JSON (a list of objects) or CSV with a first row of names.
    ///
    /// # Errors
    /// In words: why the text is no table.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let table = if text.trim_start().starts_with(['[', '{']) {
            Self::from_json(text)?
        } else {
            Self::from_csv(text)?
        };
        if table.rows.len() > ROWS_MAX {
            return Err(format!("it has more than {ROWS_MAX} rows"));
        }
        Ok(table)
    }

    fn from_csv(text: &str) -> Result<Self, String> {
        let mut rows = csv_rows(text, separator(text)).into_iter();
        let trimmed = |row: Vec<String>| -> Vec<String> {
            row.iter().map(|cell| cell.trim().to_owned()).collect()
        };
        let head = trimmed(rows.next().unwrap_or_default());
        if head.len() < 2 || head.iter().any(String::is_empty) {
            return Err(
                "it is no table: its first row does not name two or more columns".to_owned(),
            );
        }
        let rows: Vec<Vec<String>> = rows.map(trimmed).collect();
        match rows.iter().position(|row| row.len() != head.len()) {
            Some(at) => Err(format!(
                "it is no table: row {} has not the {} columns that the first row names",
                at + 2,
                head.len()
            )),
            None => Ok(Self { head, rows }),
        }
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let rows: Rows = serde_json::from_str(text)
            .map_err(|error| format!("it is no table, a list of JSON objects: {error}"))?;
        let objects = match rows {
            Rows::Many(objects) => objects,
            Rows::One(object) => vec![object],
        };
        let mut head: Vec<String> = Vec::new();
        for (name, _) in objects.iter().flat_map(|object| &object.0) {
            if !head.contains(name) {
                head.push(name.clone());
            }
        }
        if head.is_empty() {
            return Err("it is no table: it holds no fields".to_owned());
        }
        let cell = |value: Option<&Value>| match value {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Array(_) | Value::Object(_)) => {
                Err("it is no table: a field holds a list or an object".to_owned())
            }
            Some(other) => Ok(other.to_string()),
        };
        let of = |object: &Fields, name: &str| {
            let found = object.0.iter().find(|(known, _)| known == name);
            cell(found.map(|(_, value)| value))
        };
        let rows = objects
            .iter()
            .map(|object| head.iter().map(|name| of(object, name)).collect())
            .collect::<Result<_, String>>()?;
        Ok(Self { head, rows })
    }

    /// The table as a list of JSON objects, fields in the order of the columns; a column of plain numbers holds numbers.
    pub(super) fn to_json(&self) -> String {
        let cells = |at: usize| self.rows.iter().filter_map(move |row| row.get(at));
        let numeric: Vec<bool> = (0..self.head.len())
            .map(|at| cells(at).all(|cell| cell.is_empty() || number(cell).is_some()))
            .collect();
        let value = |cell: &str, numeric: bool| match number(cell) {
            Some(number) if numeric => number,
            None if numeric => Value::Null,
            _ => Value::from(cell),
        };
        let row = |row: &Vec<String>| {
            let fields = self.head.iter().zip(row).zip(&numeric);
            let fields = fields.map(|((name, cell), numeric)| {
                format!("{}: {}", Value::from(name.as_str()), value(cell, *numeric))
            });
            format!("  {{ {} }}", fields.collect::<Vec<_>>().join(", "))
        };
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("[\n{}\n]\n", rows.join(",\n"))
    }

    /// The table as what was found.
    pub(super) fn found(self) -> Found {
        Found::Table {
            head: self.head,
            rows: self.rows,
        }
    }

    /// What is in it, in a few points: how many rows, which columns, what each adds up to or holds.
    pub(super) fn digest(&self) -> Vec<String> {
        let rows = super::digest::counted(self.rows.len(), "row");
        let mut points = vec![format!(
            "A table of {rows} with the columns {}.",
            self.head.join(", ")
        )];
        let columns = self.head.iter().enumerate().take(COLUMNS_SHOWN_MAX);
        points.extend(columns.filter_map(|(at, name)| {
            let cells: Vec<&str> = self
                .rows
                .iter()
                .filter_map(|row| row.get(at))
                .map(String::as_str)
                .collect();
            describe(name, &cells)
        }));
        if self.head.len() > COLUMNS_SHOWN_MAX {
            points.push(format!(
                "Only the first {COLUMNS_SHOWN_MAX} columns are spoken of here."
            ));
        }
        points
    }
}

/// Most digits of a number that JSON readers keep exactly.
const EXACT_DIGITS_MAX: usize = 15;

/// A cell as a JSON number, if it is one and stays the same number: no leading zeros, not too long.
fn number(cell: &str) -> Option<Value> {
    let amount = Amount::parse(cell)?;
    let unsigned = cell.trim_start_matches('-');
    let zeros = unsigned.starts_with('0') && unsigned.len() > 1 && !unsigned.starts_with("0.");
    let long = unsigned.len() > EXACT_DIGITS_MAX || cell.starts_with('+');
    if zeros || long {
        return None;
    }
    if amount.decimals == 0 {
        return cell.parse::<i64>().ok().map(Value::from);
    }
    cell.parse::<f64>().ok().map(Value::from)
}

/// One column in a sentence; nothing if it holds nothing that repeats or adds up.
fn describe(name: &str, cells: &[&str]) -> Option<String> {
    let filled: Vec<&str> = cells
        .iter()
        .copied()
        .filter(|cell| !cell.is_empty())
        .collect();
    if filled.is_empty() {
        return None;
    }
    if let Ok(amounts) = filled
        .iter()
        .map(|cell| Amount::parse(cell).ok_or(()))
        .collect::<Result<Vec<_>, ()>>()
    {
        let total = Amount::sum(&amounts)?;
        let least = amounts.iter().min_by(|one, other| one.cmp_value(other))?;
        let most = amounts.iter().max_by(|one, other| one.cmp_value(other))?;
        return Some(format!("{name}: from {least} to {most}, {total} in total."));
    }
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for cell in &filled {
        match counts.iter_mut().find(|(known, _)| known == cell) {
            Some((_, count)) => *count += 1,
            None => counts.push((cell, 1)),
        }
        if counts.len() > VALUES_SHOWN_MAX {
            return Some(range(name, &filled));
        }
    }
    if counts.iter().all(|(_, count)| *count == 1) {
        return Some(range(name, &filled));
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told: Vec<String> = counts
        .iter()
        .map(|(value, count)| format!("{value} ({count})"))
        .collect();
    Some(format!("{name}: {}.", told.join(", ")))
}

fn range(name: &str, cells: &[&str]) -> String {
    match (cells.first(), cells.last()) {
        (Some(first), Some(last)) if cells.len() > 1 => {
            format!("{name}: from {first} (first row) to {last} (last row).")
        }
        (Some(one), _) => format!("{name}: {one}."),
        _ => format!("{name}: nothing."),
    }
}

/// A decimal number, kept exactly: digits and how many of them follow the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    digits: i128,
    decimals: usize,
}

impl std::fmt::Display for Amount {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.digits < 0 { "-" } else { "" };
        let digits = format!(
            "{:0>width$}",
            self.digits.unsigned_abs(),
            width = self.decimals + 1
        );
        match digits.split_at_checked(digits.len() - self.decimals) {
            Some((whole, part)) if !part.is_empty() => write!(out, "{sign}{whole}.{part}"),
            _ => write!(out, "{sign}{digits}"),
        }
    }
}

impl Amount {
    /// A plain decimal number; nothing else, and no thousands' marks, of which nobody can tell what they mean.
    pub(super) fn parse(cell: &str) -> Option<Self> {
        let cell = cell.trim();
        let (sign, unsigned) = match cell.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, cell.strip_prefix('+').unwrap_or(cell)),
        };
        let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = whole.len() <= WHOLE_DIGITS_MAX && part.len() <= DECIMALS_MAX;
        if whole.is_empty() || !plain(whole) || !plain(part) || !fits || unsigned.ends_with('.') {
            return None;
        }
        let digits: i128 = format!("{whole}{part}").parse().ok()?;
        Some(Self {
            digits: sign * digits,
            decimals: part.len(),
        })
    }

    fn scaled(self, decimals: usize) -> Option<i128> {
        let power = u32::try_from(decimals.checked_sub(self.decimals)?).ok()?;
        self.digits.checked_mul(10_i128.checked_pow(power)?)
    }

    fn cmp_value(&self, other: &Self) -> std::cmp::Ordering {
        let decimals = self.decimals.max(other.decimals);
        self.scaled(decimals).cmp(&other.scaled(decimals))
    }

    /// The exact sum, with as many decimals as the longest has.
    pub(super) fn sum(amounts: &[Self]) -> Option<Self> {
        let decimals = amounts
            .iter()
            .map(|amount| amount.decimals)
            .max()
            .unwrap_or(0);
        let digits = amounts.iter().try_fold(0_i128, |sum, amount| {
            sum.checked_add(amount.scaled(decimals)?)
        })?;
        Some(Self { digits, decimals })
    }
}

/// The exact sum of some cells; empty ones count for nothing.
///
/// # Errors
/// In words: which cell is no plain number.
pub(super) fn total(cells: &[String]) -> Result<Amount, String> {
    let amount = |(at, cell): (usize, &String)| {
        Amount::parse(cell).ok_or_else(|| {
            format!(
                "value {} is no plain number: {}",
                at + 1,
                super::report::head(cell, 60)
            )
        })
    };
    let filled = cells
        .iter()
        .enumerate()
        .filter(|(_, cell)| !cell.trim().is_empty());
    let amounts: Vec<Amount> = filled.map(amount).collect::<Result<_, _>>()?;
    if amounts.is_empty() {
        return Err("there are no numbers to add up".to_owned());
    }
    Amount::sum(&amounts).ok_or_else(|| "the sum is too large".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const COSTS: &str = "day,what,cost\n1,food,42.50\n2,travel,18\n3,food,-0.25\n";

    #[test]
    fn a_digest_of_a_table_says_rows_columns_and_exact_totals() {
        let points = Table::read(COSTS).unwrap().digest();
        assert_eq!(
            points[0],
            "A table of 3 rows with the columns day, what, cost."
        );
        assert_eq!(points[2], "what: food (2), travel (1).");
        assert_eq!(points[3], "cost: from -0.25 to 42.50, 60.25 in total.");
    }

    #[test]
    fn rows_that_do_not_fit_their_head_are_no_table() {
        for text in [
            "",
            "one\ntwo\n",
            "a,b\n1,2,3\n",
            "Dear Anna, thank you.\nSee you soon.\n",
            "[1, 2]",
            "{\"a\": [1]}",
            "[]",
            "[{",
        ] {
            assert!(Table::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_objects_are_rows_and_what_one_lacks_is_empty() {
        let numbers = Table::read("n,zip,x\n1.50,0151,a\n,7,2\n")
            .unwrap()
            .to_json();
        assert_eq!(
            numbers,
            "[\n  { \"n\": 1.5, \"zip\": \"0151\", \"x\": \"a\" },\n  { \"n\": null, \"zip\": \"7\", \"x\": \"2\" }\n]\n"
        );
        let table = Table::read(r#"[{"z": 1, "b": "x"}, {"z": 2.50, "c": true}]"#).unwrap();
        assert_eq!(table.head, ["z", "b", "c"]);
        assert_eq!(table.rows[1], ["2.5", "", "true"]);
    }

    #[test]
    fn sums_are_exact_and_only_of_plain_numbers() {
        let cells = |cells: &[&str]| {
            cells
                .iter()
                .map(|cell| (*cell).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            total(&cells(&["0.1", "0.2", "", "1000"]))
                .unwrap()
                .to_string(),
            "1000.3"
        );
        assert_eq!(total(&cells(&["-1", "0.5"])).unwrap().to_string(), "-0.5");
        for bad in [
            "1,000",
            "1e5",
            "twelve",
            "1.",
            ".5",
            "99999999999999999999999999",
        ] {
            assert!(total(&cells(&["1", bad])).is_err(), "{bad}");
        }
        assert!(total(&cells(&[""])).is_err());
    }
}
