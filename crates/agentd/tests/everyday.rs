//! Everyday goals, worded as people word them, over real files and a web server on loopback, with nothing configured:
//! what the embedded default does it does rightly, and the rest it refuses with a reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod stage;

use common::Place;
use serde_json::{Value, json};
use stage::{Pages, Web, files, objects};
use std::collections::BTreeMap;

const MONDAY: &str = "# Monday\n\nPlanning meeting about the spring fair.\n\n- Anna books the hall by 12 March.\n\
    - TODO order forty chairs\n- Budget agreed: 1200 euros.\n";
const TUESDAY: &str = "# Tuesday\n\nCall with the printer about posters.\n\n- The posters cost 85 euros for a hundred.\n\
    - TODO send the logo to the printer\n- Delivery takes five working days.\n";
const WEDNESDAY: &str = "# Wednesday\n\nVisit to the hall in Lisbon Street.\n\n- The hall holds 150 people.\n- TODO ask about parking\n";
const EXPENSES: &str = "date,category,amount\n2026-03-01,food,42.50\n2026-03-02,travel,18.00\n2026-03-05,food,23.25\n\
    2026-03-09,rent,640.00\n2026-03-12,travel,9.75\n";
const INVENTORY: &str = "item,quantity,price\nchair,40,12.5\ntable,10,55\nlamp,6,19.9\n";
const CONTACTS: &str = "Anna Berg, anna.berg@example.org, 0151 2345678\nTom Weiss (printer): tom@printer.example\n\
    Hall office <office@hall.example>, ask for Mrs. Lind\nAnna again: anna.berg@example.org\n";
const ESSAY: &str = "The old bridge over the river was built in 1911. It carried carts, then cars, and finally only people on \
    foot. In 2019 the town closed the bridge because the stone had begun to crack.\n\nRepairing the bridge would cost two \
    million euros. A new bridge would cost three million euros, but it would carry bicycles and buses as well. The town asked \
    its people what they wanted, and most people wanted the old bridge repaired.\n\nThe repair began in May and will take two \
    years. Until then a ferry crosses the river every twenty minutes. The ferry is free for people who live in the town.\n";
const LOG: &str = "2026-03-01 08:00:01 INFO started\n2026-03-01 08:01:13 ERROR disk full on /dev/sda1\n\
    2026-03-01 08:02:00 INFO retry\n2026-03-01 08:05:44 WARN slow reply from db\n2026-03-01 08:07:02 ERROR connection to db lost\n\
    2026-03-01 08:09:30 INFO connection to db back\n2026-03-01 09:15:10 ERROR timeout after 30 s\n2026-03-01 10:00:00 INFO stopped\n";
const PLAN_A: &str = "Hall: Lisbon Street\nDate: 14 March\nSeats: 150\nPrice: 300 euros\n";
const PLAN_B: &str = "Hall: Harbour House\nDate: 14 March\nSeats: 220\nPrice: 450 euros\n";
const NAMES: &str = "Weber\nAnna\nMiller\nZoe\nBerg\n";
const NEWS: [&str; 4] = [
    "The ferry carried 4,200 people in its first month.",
    "The town council called the number a surprise.",
    "A second ferry starts in June.",
    "It will run every ten minutes on weekends.",
];
const PRICES: &str =
    r#"[{"item":"bread","price":3.2},{"item":"milk","price":1.1},{"item":"cheese","price":7.45}]"#;

const FILES: &[(&str, &str)] = &[
    ("notes/monday.md", MONDAY),
    ("notes/tuesday.md", TUESDAY),
    ("notes/wednesday.md", WEDNESDAY),
    ("expenses.csv", EXPENSES),
    ("inventory.csv", INVENTORY),
    ("contacts.txt", CONTACTS),
    ("essay.txt", ESSAY),
    ("server.log", LOG),
    ("plan-a.txt", PLAN_A),
    ("plan-b.txt", PLAN_B),
    ("names.txt", NAMES),
];

fn pages() -> Pages {
    let page = |title: &str, text: &str| {
        let body = format!(
            "<!doctype html><html><head><title>{title}</title></head><body><h1>{title}</h1>{text}</body></html>"
        );
        ("text/html; charset=utf-8", body)
    };
    let news = format!(
        "<p>{} {}</p><p>{} {}</p>",
        NEWS[0], NEWS[1], NEWS[2], NEWS[3]
    );
    let pages = [
        ("/news.html", page("Harbour News", &news)),
        (
            "/alpha.html",
            page(
                "Alpha Bakery",
                "<p>Alpha Bakery opens at six in the morning. It bakes 300 loaves a day.</p>",
            ),
        ),
        (
            "/beta.html",
            page(
                "Beta Books",
                "<p>Beta Books sells used books. The shop holds 8,000 volumes.</p>",
            ),
        ),
        (
            "/gamma.html",
            page(
                "Gamma Garden",
                "<p>Gamma Garden grows beans. Visitors may pick their own on Saturdays.</p>",
            ),
        ),
        ("/prices.json", ("application/json", PRICES.to_owned())),
    ];
    pages
        .into_iter()
        .map(|(path, page)| (path.to_owned(), page))
        .collect()
}

/// What a goal left behind.
struct Seen {
    /// The answer's text; empty if the answer is a file.
    answer: String,
    /// Files that were not there before, by name.
    files: BTreeMap<String, String>,
}

/// What is wrong with what a goal left behind; nothing if it is right.
type Wrong = Vec<String>;

impl Seen {
    fn answer(&self, holds: &[&str]) -> Wrong {
        let mut wrong = missing("the answer", &self.answer, holds);
        wrong.extend(
            self.files
                .keys()
                .map(|name| format!("wrote {name}, which nobody asked for")),
        );
        wrong
    }

    /// That exactly this file was written, and what is wrong with its text.
    fn file(&self, name: &str, check: impl Fn(&str) -> Wrong) -> Wrong {
        let Some(text) = self.files.get(name) else {
            return vec![format!(
                "there is no {name}; there are {:?}",
                self.files.keys()
            )];
        };
        let mut wrong = check(text);
        if self.files.len() != 1 {
            wrong.push(format!("other files were written: {:?}", self.files.keys()));
        }
        if !text.ends_with('\n') || text.ends_with("\n\n") {
            wrong.push(format!("{name} does not end with one newline"));
        }
        wrong
    }

    fn exactly(&self, name: &str, wanted: &str) -> Wrong {
        self.file(name, |text| {
            if text == wanted {
                vec![]
            } else {
                vec![format!("{name} is {text:?}, not {wanted:?}")]
            }
        })
    }

    /// That exactly this file was written, as Markdown that holds all of this.
    fn report(&self, name: &str, holds: &[&str]) -> Wrong {
        self.file(name, |text| {
            let mut wrong = missing(name, text, holds);
            if !text.starts_with("# ") {
                wrong.push(format!("{name} has no heading"));
            }
            wrong
        })
    }
}

fn missing(place: &str, text: &str, holds: &[&str]) -> Wrong {
    holds
        .iter()
        .filter(|part| !text.contains(**part))
        .map(|part| format!("{place} lacks {part:?}: {text}"))
        .collect()
}

fn lines_with(text: &str, wanted: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.contains(wanted))
        .map(str::to_owned)
        .collect()
}

/// Whether a number stands alone in the text.
fn says_number(text: &str, number: impl ToString) -> Wrong {
    let number = number.to_string();
    let alone = |c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == ',');
    let found = text
        .split(alone)
        .any(|word| word.trim_matches(['.', ',']) == number);
    if found {
        vec![]
    } else {
        vec![format!("the number {number} is not in: {text}")]
    }
}

fn all<const N: usize>(parts: [Wrong; N]) -> Wrong {
    parts.into_iter().flatten().collect()
}

/// The most frequent words with their counts, most frequent first, then by the alphabet.
fn words_by_count(text: &str) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let mut words: Vec<(String, usize)> = counts.into_iter().collect();
    words.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    words
}

/// The sentences of a text, in order.
fn sentences(text: &str) -> Vec<String> {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    flat.split_inclusive(". ")
        .map(|sentence| sentence.trim().to_owned())
        .collect()
}

fn amounts() -> Vec<f64> {
    EXPENSES
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap().parse().unwrap())
        .collect()
}

/// A table of comma-separated values without quotes, as rows of cells.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| {
            line.split(',')
                .map(|cell| cell.trim_matches('"').to_owned())
                .collect()
        })
        .collect()
}

fn three_sentences(seen: &Seen) -> Wrong {
    let known = sentences(ESSAY);
    let body = seen
        .answer
        .lines()
        .find(|line| {
            known
                .iter()
                .any(|sentence| line.contains(sentence.as_str()))
        })
        .unwrap_or("");
    let said = sentences(body);
    if said.len() == 3 && said.iter().all(|sentence| known.contains(sentence)) {
        seen.answer(&[])
    } else {
        vec![format!("not three of its sentences: {said:?}")]
    }
}

fn five_words(seen: &Seen) -> Wrong {
    // A list of words without the commonest of all would be as right; what is said must be true of each.
    let counts: BTreeMap<String, usize> = words_by_count(ESSAY).into_iter().collect();
    let rows: Vec<Vec<&str>> = seen
        .answer
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let told: Vec<(String, usize)> = rows
        .iter()
        .filter_map(|row| Some((row.get(1)?.to_string(), row.get(2)?.parse().ok()?)))
        .collect();
    let wanted: Vec<(String, usize)> = words_by_count(ESSAY).into_iter().take(5).collect();
    if told == wanted && told.iter().all(|(word, count)| counts[word] == *count) {
        seen.answer(&[])
    } else {
        vec![format!("{told:?}, not {wanted:?}")]
    }
}

fn inventory_as_json(seen: &Seen) -> Wrong {
    seen.file("inventory.json", |text| {
        let Ok(found) = serde_json::from_str::<Value>(text) else {
            return vec![format!("not JSON: {text}")];
        };
        let table = rows(INVENTORY);
        let cells = |cell: &Value| {
            cell.as_str()
                .map_or_else(|| cell.to_string(), str::to_owned)
        };
        let told: Vec<BTreeMap<String, String>> = found
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(|row| {
                row.iter()
                    .map(|(name, cell)| (name.clone(), cells(cell)))
                    .collect()
            })
            .collect();
        let wanted: Vec<BTreeMap<String, String>> = table[1..]
            .iter()
            .map(|row| table[0].iter().cloned().zip(row.iter().cloned()).collect())
            .collect();
        if told == wanted {
            vec![]
        } else {
            vec![format!("{told:?}, not {wanted:?}")]
        }
    })
}

fn prices_as_csv(seen: &Seen) -> Wrong {
    seen.file("prices.csv", |text| {
        let document: Value = serde_json::from_str(PRICES).unwrap();
        let line = |row: &Value| {
            vec![
                row["item"].as_str().unwrap().to_owned(),
                row["price"].to_string(),
            ]
        };
        let mut wanted = vec![vec!["item".to_owned(), "price".to_owned()]];
        wanted.extend(document.as_array().unwrap().iter().map(line));
        if rows(text) == wanted {
            vec![]
        } else {
            vec![format!("{:?}, not {wanted:?}", rows(text))]
        }
    })
}

fn emails(seen: &Seen) -> Wrong {
    seen.file("emails.txt", |text| {
        let mut found: Vec<&str> = text
            .lines()
            .map(|line| line.trim_start_matches("- ").trim())
            .filter(|line| !line.is_empty())
            .collect();
        found.sort_unstable();
        found.dedup();
        let wanted = [
            "anna.berg@example.org",
            "office@hall.example",
            "tom@printer.example",
        ];
        if found == wanted {
            vec![]
        } else {
            vec![format!("{found:?}, not {wanted:?}")]
        }
    })
}

fn todos(seen: &Seen) -> Wrong {
    let wanted = [
        ("monday.md", MONDAY),
        ("tuesday.md", TUESDAY),
        ("wednesday.md", WEDNESDAY),
    ];
    seen.file("todos.md", |text| {
        let found = lines_with(text, ".md:");
        let told = wanted.iter().all(|(name, note)| {
            lines_with(note, "TODO").iter().all(|line| {
                found
                    .iter()
                    .any(|told| told.contains(name) && told.contains(line))
            })
        });
        if told && found.len() == 3 {
            vec![]
        } else {
            vec![format!("not the three lines with their files: {text}")]
        }
    })
}

/// A summary of a table says what is in it, and does not take its rows for sentences.
fn overview(seen: &Seen) -> Wrong {
    let total: f64 = amounts().iter().sum();
    let sources = ["expenses.csv", "server.log", "notes/tuesday.md"];
    seen.file("overview.md", |text| {
        let parts: Vec<&str> = text.split("\n## ").collect();
        let part = |name: &str| {
            parts
                .iter()
                .find(|part| part.starts_with(name))
                .copied()
                .unwrap_or("")
        };
        let (table, log, note) = (part(sources[0]), part(sources[1]), part(sources[2]));
        let mut wrong = all([
            missing("the report", text, &sources),
            missing("the table's part", table, &["date", "category", "amount"]),
            says_number(table, 5),
            says_number(table, format!("{total:.2}")),
            says_number(log, 8),
            missing(
                "the note's part",
                note,
                &["The posters cost 85 euros for a hundred."],
            ),
        ]);
        if table.contains("amount 2026-03-01")
            || log.contains("started 2026-03-01")
            || note.contains("printer Delivery")
        {
            wrong.push(format!("lines run into one another: {text}"));
        }
        wrong
    })
}

fn sorted_names() -> String {
    let mut names: Vec<&str> = NAMES.lines().collect();
    names.sort_unstable();
    names.join("\n") + "\n"
}

fn week(seen: &Seen) -> Wrong {
    seen.file("week.md", |text| {
        let places: Vec<Option<usize>> = [MONDAY, TUESDAY, WEDNESDAY]
            .iter()
            .map(|note| text.find(note.trim_end()))
            .collect();
        if places.iter().all(Option::is_some) && places.is_sorted() {
            vec![]
        } else {
            vec![format!("not the three notes, whole and in order: {text}")]
        }
    })
}

fn differences(seen: &Seen) -> Wrong {
    let differing: Vec<&str> = PLAN_A
        .lines()
        .zip(PLAN_B.lines())
        .filter(|(one, other)| one != other)
        .flat_map(|(one, other)| [one, other])
        .collect();
    all([
        seen.report("differences.md", &differing),
        seen.report("differences.md", &["plan-a.txt", "plan-b.txt"]),
    ])
}

/// What a goal should come to.
enum Wanted {
    Done(fn(&Seen) -> Wrong),
    Refused,
}
use Wanted::{Done, Refused};

/// `{web}` stands for the server's address.
const GOALS: &[(&str, Wanted)] = &[
    (
        "show me what's in notes/monday.md",
        Done(|seen| seen.answer(&[MONDAY.trim_end()])),
    ),
    (
        "list the markdown files in the notes folder",
        Done(|seen| {
            let named: Vec<bool> = FILES
                .iter()
                .map(|(name, _)| seen.answer.contains(name.trim_start_matches("notes/")))
                .collect();
            let wanted: Vec<bool> = FILES
                .iter()
                .map(|(name, _)| name.starts_with("notes/"))
                .collect();
            if named == wanted {
                seen.answer(&[])
            } else {
                vec![format!("not these three files: {}", seen.answer)]
            }
        }),
    ),
    (
        "how many lines does server.log have?",
        Done(|seen| says_number(&seen.answer, LOG.lines().count())),
    ),
    (
        "count the words in essay.txt",
        Done(|seen| says_number(&seen.answer, ESSAY.split_whitespace().count())),
    ),
    (
        "find all the lines with ERROR in server.log and save them to errors.txt",
        Done(|seen| seen.exactly("errors.txt", &(lines_with(LOG, "ERROR").join("\n") + "\n"))),
    ),
    (
        "search my notes folder for TODO and write the matches to todos.md",
        Done(todos),
    ),
    (
        "get all the email addresses out of contacts.txt and write them to emails.txt",
        Done(emails),
    ),
    (
        "summarize essay.txt in three sentences",
        Done(three_sentences),
    ),
    (
        "summarise every file in notes and put the result in weekly.md",
        Done(|seen| {
            let notes = ["monday.md", "tuesday.md", "wednesday.md"];
            let said = [
                "Planning meeting about the spring fair.",
                "Call with the printer about posters.",
                "Visit to the hall in Lisbon Street.",
            ];
            all([
                seen.report("weekly.md", &notes),
                seen.report("weekly.md", &said),
            ])
        }),
    ),
    (
        "compare plan-a.txt and plan-b.txt and write the differences to differences.md",
        Done(differences),
    ),
    (
        "combine notes/monday.md, notes/tuesday.md and notes/wednesday.md into week.md",
        Done(week),
    ),
    (
        "sort the lines of names.txt alphabetically and save them as names-sorted.txt",
        Done(|seen| seen.exactly("names-sorted.txt", &sorted_names())),
    ),
    (
        "fetch {web}/news.html and give me a summary",
        Done(|seen| seen.answer(&NEWS)),
    ),
    (
        "download {web}/alpha.html, {web}/beta.html and {web}/gamma.html and write a report about them to sites.md",
        Done(|seen| {
            let pages = ["/alpha.html", "/beta.html", "/gamma.html"];
            let said = [
                "It bakes 300 loaves a day.",
                "The shop holds 8,000 volumes.",
                "Gamma Garden grows beans.",
            ];
            all([
                seen.report("sites.md", &pages),
                seen.report("sites.md", &said),
            ])
        }),
    ),
    (
        "add up the amount column in expenses.csv",
        Done(|seen| {
            says_number(
                &seen.answer,
                format!("{:.2}", amounts().iter().sum::<f64>()),
            )
        }),
    ),
    (
        "convert inventory.csv to json and save it as inventory.json",
        Done(inventory_as_json),
    ),
    (
        "what are the five most common words in essay.txt?",
        Done(five_words),
    ),
    (
        "read expenses.csv, server.log and notes/tuesday.md, summarise each one, and write a report to overview.md",
        Done(overview),
    ),
    (
        "fetch {web}/prices.json and save it as a csv file called prices.csv",
        Done(prices_as_csv),
    ),
    (
        "which files in this folder mention Lisbon?",
        Done(|seen| {
            let named: Vec<bool> = FILES
                .iter()
                .map(|(name, _)| seen.answer.contains(name))
                .collect();
            let wanted: Vec<bool> = FILES
                .iter()
                .map(|(_, text)| text.contains("Lisbon"))
                .collect();
            if named == wanted {
                seen.answer(&[])
            } else {
                vec![format!("not the files that mention it: {}", seen.answer)]
            }
        }),
    ),
    (
        "write a poem about the sea and save it to poem.txt",
        Refused,
    ),
    (
        "which is the better plan, plan-a.txt or plan-b.txt?",
        Refused,
    ),
    (
        "write a python script that renames all my photos by date",
        Refused,
    ),
    ("book me a flight to Lisbon for next friday", Refused),
    ("translate essay.txt into French", Refused),
    ("rewrite essay.txt so that it sounds friendlier", Refused),
];

/// How it went.
#[derive(Debug, PartialEq)]
enum Went {
    Rightly,
    Refused(String),
    Wrongly(Vec<String>),
}

/// Gives a goal, in a directory of its own.
fn give(place: &Place, web: &Web, number: usize) -> Went {
    let (goal, wanted) = &GOALS[number];
    let dir = place.path("work").join(number.to_string());
    for (name, text) in FILES {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), text).unwrap();
    }
    let goal = goal.replace("{web}", &web.url());
    let output = place
        .command(&["submit", "--json", "--grant", &web.grant(), &goal])
        .current_dir(&dir)
        .output()
        .unwrap();
    let done = common::Done::from(output);
    let ended = objects(&done.out).pop().unwrap_or(Value::Null)["result"]["view"].take();
    let mut new: BTreeMap<String, String> = files(&dir)
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
        .collect();
    for (name, text) in FILES {
        match new.remove(*name) {
            Some(found) if found == *text => {}
            _ => return Went::Wrongly(vec![format!("{name} is not what it was")]),
        }
    }
    if ended["outcome"]["result"] != "succeeded" {
        return refusal(done.code, &ended, &new);
    }
    let answer = ended["outcome"]["output"]["text"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    let wrong = match wanted {
        Done(check) => check(&Seen { answer, files: new }),
        Refused => vec![format!("it was not refused: {answer}")],
    };
    if wrong.is_empty() && done.code == 0 {
        Went::Rightly
    } else {
        Went::Wrongly(wrong)
    }
}

/// Whether the run was refused as a goal is: before anything was done, with the reason and the ways on, exit code 1.
fn refusal(code: i32, ended: &Value, new: &BTreeMap<String, String>) -> Went {
    let failure = &ended["outcome"]["failure"];
    let reason = failure["reason"].as_str().unwrap_or("").to_owned();
    let ways = failure["ways_on"].as_array().map_or(0, Vec::len);
    let refused = failure["why"] == "goal_refused" && !reason.is_empty() && ways >= 2;
    if refused && code == 1 && new.is_empty() {
        Went::Refused(reason)
    } else {
        Went::Wrongly(vec![format!("exit {code}: {failure}")])
    }
}

#[test]
fn of_twenty_everyday_goals_none_is_done_wrongly_and_at_least_fifteen_are_done() {
    let (place, web) = (Place::new(), Web::serve(pages()));
    let went: Vec<Went> = (0..GOALS.len())
        .map(|number| give(&place, &web, number))
        .collect();
    let table: Vec<String> = GOALS
        .iter()
        .zip(&went)
        .map(|((goal, _), went)| format!("{went:?}  {goal}"))
        .collect();
    let table = table.join("\n");
    println!("{table}");
    assert!(
        went.iter().all(|went| !matches!(went, Went::Wrongly(_))),
        "\n{table}"
    );
    let everyday = GOALS
        .iter()
        .zip(&went)
        .filter(|((_, wanted), _)| matches!(wanted, Done(_)));
    let rightly = everyday
        .clone()
        .filter(|(_, went)| **went == Went::Rightly)
        .count();
    assert_eq!(everyday.count(), 20);
    assert!(rightly >= 15, "only {rightly}\n{table}");
}

#[test]
fn sources_are_worked_on_side_by_side() {
    let (place, web) = (Place::new(), Web::serve(pages()));
    place.work("a.txt", ESSAY);
    place.work("b.txt", NAMES);
    let goal = format!(
        "read a.txt, b.txt and {}/news.html, summarise each and write a report to r.md",
        web.url()
    );
    let done = place.run(&["submit", "--json", "--grant", &web.grant(), &goal]);
    assert_eq!(done.code, 0, "{done:?}");
    let events = objects(&done.out);
    let first = |kind: &str| {
        events
            .iter()
            .position(|event| event["kind"] == kind)
            .unwrap()
    };
    let started = events[..first("subtask_completed")]
        .iter()
        .filter(|event| event["kind"] == "subtask_started")
        .count();
    assert!(started >= 3, "{started} started before the first ended");
}

#[test]
fn every_result_says_that_no_model_made_it() {
    let place = Place::new();
    place.work("essay.txt", ESSAY);
    let done = place.run(&["submit", "summarise essay.txt and write it to short.md"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("model: none (rules)"), "{}", done.out);
    let models: Vec<Value> = objects(&place.run(&["list", "--json"]).out);
    assert!(!models.is_empty(), "{}", json!(models));
    assert!(
        std::fs::read_to_string(place.path("work/short.md"))
            .unwrap()
            .contains("without a model")
    );
}
