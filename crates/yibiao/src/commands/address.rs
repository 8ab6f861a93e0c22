//! `yibiao address`: parse, resolve, explain and compare addresses, in the order of the input.
//!
//! ```text
//!  rows (lines, JSON lines, CSV, Parquet) ─► in_order (all cores) ─► answers (JSON lines, Parquet)
//!                                               │
//!                                            places (a gazetteer, or a list made into one)
//! ```

mod answers;
mod in_order;
mod places;
mod rows;

use anyhow::{Context, Result};
use serde::Deserialize;
use std::io::Write as _;
use yibiao_address::{Answer, Divisions, Language, Parsed, Query, Scratch, match_pair, parse};

use answers::{Out, Said};
use places::{PlaceName, Places};
use rows::{Input, Row};

/// Parse, resolve, explain and compare addresses.
#[derive(Debug, clap::Subcommand)]
pub enum Address {
    /// The elements of each address, with their spans in the original text. Lines on standard input, unless told
    /// otherwise.
    Parse(Parse),
    /// The place of each address, or why there is none. JSON lines `{"city","name","address"}` on standard input,
    /// unless told otherwise.
    Resolve(Resolve),
    /// Show how one address is resolved: each step, candidate and score.
    Explain(Explain),
    /// JSON lines `{"query","candidate"}` to `{"match"}`: 0 none, 1 one contains the other, 2 the same place.
    Match(Match),
}

#[derive(Debug, clap::Args)]
pub struct Parse {
    #[command(flatten)]
    input: Input,

    /// How the answers are written.
    #[arg(long, value_enum, default_value = "jsonl")]
    output: answers::Form,
}

#[derive(Debug, clap::Args)]
pub struct Resolve {
    #[command(flatten)]
    places: Places,

    #[command(flatten)]
    input: Input,

    /// How the answers are written.
    #[arg(long, value_enum, default_value = "jsonl")]
    output: answers::Form,
}

#[derive(Debug, clap::Args)]
pub struct Match {
    /// The file of JSON lines; standard input where it is left out.
    #[arg(long)]
    input: Option<std::path::PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The address.
    text: String,

    #[command(flatten)]
    places: Places,

    /// The city in which the address is looked for, such as 南京市.
    #[arg(long)]
    city: Option<String>,

    /// The place's name, where it is given apart from the address.
    #[arg(long)]
    name: Option<String>,

    /// English rather than Chinese.
    #[arg(long)]
    english: bool,
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    candidate: String,
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

impl Address {
    pub fn run(self) -> Result<()> {
        match self {
            Address::Parse(command) => {
                let divisions = Divisions::bundled();
                let chunks = command.input.chunks(rows::Form::Lines)?;
                answer(chunks, command.output, |row| -> Parsed { parse(&row.address, divisions, None) })
            }
            Address::Resolve(command) => {
                let places = command.places.open()?;
                let chunks = command.input.chunks(rows::Form::Jsonl)?;
                answer(chunks, command.output, |row| -> Answer<PlaceName> {
                    let query =
                        Query { text: &row.address, city: row.city.as_deref(), name: row.name.as_deref() };
                    SCRATCH.with_borrow_mut(|scratch| places.answer(&query, scratch))
                })
            }
            Address::Match(command) => command.run(),
            Address::Explain(explain) => {
                let places = explain.places.open()?;
                let language = if explain.english { Language::English } else { Language::Chinese };
                let query = Query {
                    text: &explain.text,
                    city: explain.city.as_deref(),
                    name: explain.name.as_deref(),
                };
                writeln!(std::io::stdout(), "{}", places.resolver.explain(&query, language))?;
                Ok(())
            }
        }
    }
}

/// An answer for each row, in the order of the rows.
fn answer<S: Said + Send>(
    chunks: impl Iterator<Item = Result<Vec<Row>>>,
    form: answers::Form,
    work: impl Fn(&Row) -> S + Sync,
) -> Result<()> {
    let mut out = Out::new::<S>(form)?;
    for rows in chunks {
        let rows = rows?;
        let answers = in_order::map(&rows, |row| {
            let said = work(row);
            let line = answers::line(form, row, &said)?;
            Ok((said, line))
        });
        out.write(&rows, answers)?;
    }
    out.finish()
}

impl Match {
    fn run(&self) -> Result<()> {
        let chunks = rows::numbered(self.input.as_deref())?;
        let mut out = std::io::BufWriter::new(std::io::stdout());
        for lines in chunks {
            let answers = in_order::map(&lines?, |(number, line)| -> Result<String> {
                let pair: Pair = serde_json::from_str(line).with_context(|| {
                    format!("line {number} of the input is not {{\"query\":…,\"candidate\":…}}")
                })?;
                Ok(format!("{{\"match\":{}}}", match_pair(&pair.query, &pair.candidate)))
            });
            for answer in answers {
                std::io::Write::write_all(&mut out, format!("{}\n", answer?).as_bytes())?;
            }
        }
        Ok(std::io::Write::flush(&mut out)?)
    }
}
