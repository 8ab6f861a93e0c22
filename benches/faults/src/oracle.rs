//! What the tables must be, computed by Polars from what was sent, in one batch and without any of the program's code.

use anyhow::Result;
use polars::prelude::*;

use crate::script::{Dwelling, Statement, Step};

/// Of each dwelling that has a row: its code and the columns compared.
pub struct Expected {
    pub places: DataFrame,
    /// rule, code, severity
    pub warnings: DataFrame,
    /// code, day, amount of each reading that stands
    pub water: DataFrame,
    /// number, code of each case that stands
    pub cases: DataFrame,
    pub refused: usize,
}

/// The last statement of each key stands.
fn last_of<K: std::hash::Hash + Eq, V>(all: impl Iterator<Item = (K, V)>) -> Vec<V> {
    all.collect::<std::collections::HashMap<K, V>>().into_values().collect()
}

pub fn expected(city: &[Dwelling], steps: &[Step]) -> Result<Expected> {
    let all = || steps.iter().flat_map(|step| &step.statements);
    let water = last_of(all().filter_map(|s| match s {
        Statement::Water { meter, day, dwelling, hundredths } => {
            Some(((meter, day), (city[*dwelling].code.clone(), *day, i64::from(*hundredths))))
        }
        _ => None,
    }));
    let hazards = last_of(all().filter_map(|s| match s {
        Statement::Hazard { report, day, dwelling, category, severity } => {
            Some((report, (city[*dwelling].code.clone(), *day, *category, *severity)))
        }
        _ => None,
    }));
    // A table of the department: only what a row says last was ever sent for certain. The freshest of a dwelling's
    // registrations stands; they are told apart by their number, which the department gives out in order.
    let registrations = last_of(all().filter_map(|s| match s {
        Statement::Registration { number, dwelling, rooms, is_rental, people } => {
            Some((number, (*number, city[*dwelling].code.clone(), *rooms, *is_rental, *people)))
        }
        _ => None,
    }));
    let refused: std::collections::HashSet<u32> = all()
        .filter_map(|s| match s {
            Statement::Refused { meter, .. } => Some(*meter),
            _ => None,
        })
        .collect();

    // What the last dump has.
    let cases = steps.iter().rev().find_map(|step| step.dump.clone()).unwrap_or_default();
    let cases = df!(
        "number" => cases.iter().map(|c| format!("RM{:06}", c.number)).collect::<Vec<_>>(),
        "code" => cases.iter().map(|c| city[c.dwelling].code.as_str()).collect::<Vec<_>>(),
        "day" => cases.iter().map(|c| c.day).collect::<Vec<_>>(),
    )?;
    let water = df!(
        "code" => water.iter().map(|w| w.0.as_str()).collect::<Vec<_>>(),
        "day" => water.iter().map(|w| w.1).collect::<Vec<_>>(),
        "amount" => water.iter().map(|w| w.2 * 10).collect::<Vec<_>>(),
    )?;
    let hazards = df!(
        "code" => hazards.iter().map(|h| h.0.as_str()).collect::<Vec<_>>(),
        "day" => hazards.iter().map(|h| h.1).collect::<Vec<_>>(),
        "category" => hazards.iter().map(|h| h.2).collect::<Vec<_>>(),
        "is_dangerous" => hazards.iter().map(|h| is_dangerous(h.2)).collect::<Vec<_>>(),
        "severity" => hazards.iter().map(|h| h.3).collect::<Vec<_>>(),
    )?;
    let registrations = df!(
        "number" => registrations.iter().map(|r| r.0).collect::<Vec<_>>(),
        "code" => registrations.iter().map(|r| r.1.as_str()).collect::<Vec<_>>(),
        "rooms" => registrations.iter().map(|r| i64::from(r.2)).collect::<Vec<_>>(),
        "is_rental" => registrations.iter().map(|r| r.3).collect::<Vec<_>>(),
        "registered_count" => registrations.iter().map(|r| i64::from(r.4)).collect::<Vec<_>>(),
    )?;
    let codes = df!("code" => city.iter().map(|d| d.code.as_str()).collect::<Vec<_>>())?;
    let places = places(
        codes.lazy(),
        water.clone().lazy(),
        hazards.clone().lazy(),
        cases.clone().lazy(),
        registrations.lazy(),
    )
    .collect()?;
    let cases = cases.lazy().select([col("number"), col("code")]).collect()?;
    let warnings = warnings(hazards.lazy()).collect()?;
    let water = water.lazy().sort(["code", "day", "amount"], SortMultipleOptions::default()).collect()?;
    Ok(Expected { places, warnings, water, cases, refused: refused.len() })
}

fn places(
    codes: LazyFrame,
    water: LazyFrame,
    hazards: LazyFrame,
    cases: LazyFrame,
    registrations: LazyFrame,
) -> LazyFrame {
    let days = concat(
        [&water, &hazards, &cases].map(|facts| facts.clone().select([col("code"), col("day")])),
        UnionArgs::default(),
    )
    .unwrap_or_else(|_| LazyFrame::default());
    let last = days.group_by([col("code")]).agg([col("day").max().alias("last")]);
    let within = |facts: LazyFrame, window: i32| {
        facts
            .join(last.clone(), [col("code")], [col("code")], JoinArgs::new(JoinType::Inner))
            .filter(col("day").gt(col("last") - lit(window)))
    };
    let water = within(water, 30).group_by([col("code")]).agg([
        col("amount").sum().alias("water"),
        col("day").n_unique().cast(DataType::Int64).alias("water_days"),
    ]);
    let seen = within(hazards, 90).group_by([col("code")]).agg([
        len().cast(DataType::Int64).alias("hazards"),
        col("category").eq(lit("群租隔断")).sum().cast(DataType::Int64).alias("partition_hazards"),
    ]);
    let disputes =
        within(cases, 365).group_by([col("code")]).agg([len().cast(DataType::Int64).alias("disputes")]);
    let newest = registrations
        .sort(["number"], SortMultipleOptions::default())
        .group_by([col("code")])
        .agg([col("rooms").last(), col("is_rental").last(), col("registered_count").last()]);
    let left =
        |a: LazyFrame, b: LazyFrame| a.join(b, [col("code")], [col("code")], JoinArgs::new(JoinType::Left));
    left(left(left(left(left(codes, water), seen), disputes), newest), last.clone())
        .with_columns([
            col("disputes").fill_null(lit(0)),
            col("water_days").fill_null(lit(0)),
            col("hazards").fill_null(lit(0)),
            col("partition_hazards").fill_null(lit(0)),
        ])
        .select(
            [
                "code",
                "water",
                "water_days",
                "hazards",
                "partition_hazards",
                "disputes",
                "rooms",
                "is_rental",
                "registered_count",
                "last",
            ]
            .map(col),
        )
        .sort(["code"], SortMultipleOptions::default())
}

fn is_dangerous(category: &str) -> bool {
    ["气", "火", "电", "消防"].iter().any(|word| category.contains(word))
}

/// `pipelines/rules/gas_hazard_cluster.sql`, in Polars. The other rules need meters of three kinds.
fn warnings(hazards: LazyFrame) -> LazyFrame {
    let dangerous = hazards.filter(col("is_dangerous"));
    let latest = dangerous.clone().group_by([col("code")]).agg([col("day").max().alias("latest")]);
    dangerous
        .join(latest, [col("code")], [col("code")], JoinArgs::new(JoinType::Inner))
        .filter(col("day").gt(col("latest") - lit(180)))
        .group_by([col("code")])
        .agg([len().alias("count"), col("severity").max().alias("worst")])
        .filter(col("count").gt_eq(lit(3)).and(col("worst").gt_eq(lit(3))))
        .select([
            lit("gas_hazard_cluster").alias("rule"),
            col("code"),
            when(col("worst").gt_eq(lit(5)))
                .then(lit(3i64))
                .when(col("worst").gt_eq(lit(4)))
                .then(lit(2i64))
                .otherwise(lit(1i64))
                .alias("severity"),
        ])
        .sort(["code"], SortMultipleOptions::default())
}
