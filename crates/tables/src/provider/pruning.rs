//! `place_id = …` means one bucket, `place_id in (…)` a few.

use datafusion::{
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList},
    prelude::{col, lit},
    scalar::ScalarValue,
};
use yibiao_records::PlaceId;

use crate::lake::{LakeTable, Layout, layout::BUCKET};

pub const PLACE_ID: &str = "place_id";

/// The condition on the bucket that follows from conditions on the place, if there is one.
pub fn bucket_filter(table: &LakeTable, layout: &Layout, filters: &[Expr]) -> Option<Expr> {
    if !super::is_bucketed(table, layout) {
        return None;
    }
    let places = filters.iter().find_map(places)?;
    let mut buckets: Vec<i64> =
        places.into_iter().filter_map(PlaceId::new).map(|place| layout.bucket_of(place)).collect();
    buckets.sort_unstable();
    buckets.dedup();
    Some(match buckets.as_slice() {
        [bucket] => col(BUCKET).eq(lit(*bucket)),
        _ => col(BUCKET).in_list(buckets.into_iter().map(lit).collect(), false),
    })
}

/// The places that a condition names, if it names them one by one.
pub fn places(filter: &Expr) -> Option<Vec<i64>> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let place = match (left.as_ref(), right.as_ref()) {
                (column, value) if is_place(column) => number(value),
                (value, column) if is_place(column) => number(value),
                _ => None,
            };
            place.map(|place| vec![place])
        }
        Expr::InList(InList { expr, list, negated: false }) if is_place(expr) => {
            list.iter().map(number).collect()
        }
        _ => None,
    }
}

fn is_place(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == PLACE_ID)
}

fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(number), _) => *number,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use yibiao_records::{Column, ColumnType, TableSchema};

    use super::*;
    use crate::lake::Fused;

    #[test]
    fn a_condition_on_the_place_names_its_bucket() {
        let schema =
            TableSchema { name: "places".into(), columns: vec![Column::new(PLACE_ID, ColumnType::Int, "")] };
        let fused = Fused { schema, title: String::new(), keyed: true };
        let layout = Layout { tables: vec![fused.clone()], shards: 4, buckets_per_shard: 8 };
        let base = fused.base().unwrap();
        let place = PlaceId::new(77).unwrap();
        let bucket = layout.bucket_of(place);
        let found = bucket_filter(&base, &layout, &[lit(77i64).eq(col(PLACE_ID))]);
        assert_eq!(found, Some(col(BUCKET).eq(lit(bucket))));
        let some =
            bucket_filter(&base, &layout, &[col(PLACE_ID).in_list(vec![lit(77i64), lit(77i64)], false)]);
        assert_eq!(some, Some(col(BUCKET).eq(lit(bucket))));
        assert_eq!(bucket_filter(&base, &layout, &[col(PLACE_ID).gt(lit(77i64))]), None);
        assert_eq!(bucket_filter(&fused.changes(), &layout, &[lit(77i64).eq(col(PLACE_ID))]), None);
    }
}
