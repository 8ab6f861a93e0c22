//! `resolve_address(text)` and `resolve_address(text, area)` in SQL: the place that a text names, as a struct.
//!
//! ```sql
//! select resolve_address('鼓楼区国泰新村25-402')['place_id'];
//! select r['reason'], count(*) from (select resolve_address(address, '南京市') as r from organisations) group by 1;
//! ```
//!
//! It answers by the gazetteer in force, as the pipeline does; a newer one is taken at the next batch of rows.

use std::{
    hash::{Hash, Hasher},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, StringArray, StringBuilder,
        StructArray,
    },
    buffer::NullBuffer,
    compute::cast,
    datatypes::{DataType, Field, Fields},
};
use datafusion::{
    common::ScalarValue,
    error::{DataFusionError, Result},
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
    },
};
use yibiao_address::{Query, Resolver, Scratch};
use yibiao_normalise::GazetteerFolder;

/// The function, with the gazetteers of the folder `gazetteer`. The folder is looked at when the function is called.
pub fn resolve_address(gazetteer: impl Into<PathBuf>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ResolveAddress {
        folder: gazetteer.into(),
        in_force: Mutex::default(),
        signature: Signature::one_of(
            vec![TypeSignature::String(1), TypeSignature::String(2)],
            Volatility::Stable,
        ),
    })
}

struct ResolveAddress {
    folder: PathBuf,
    /// The version, and the resolver that it gives.
    in_force: Mutex<Option<(String, Arc<Resolver>)>>,
    signature: Signature,
}

impl std::fmt::Debug for ResolveAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResolveAddress").field("folder", &self.folder).finish_non_exhaustive()
    }
}

// Two of the same folder answer the same.
impl PartialEq for ResolveAddress {
    fn eq(&self, other: &Self) -> bool {
        self.folder == other.folder
    }
}

impl Eq for ResolveAddress {}

impl Hash for ResolveAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folder.hash(state);
    }
}

impl ResolveAddress {
    fn resolver(&self) -> Result<Arc<Resolver>> {
        let failed =
            |error: &dyn std::fmt::Display| DataFusionError::Execution(format!("resolve_address: {error}"));
        if !self.folder.is_dir() {
            return Err(self.missing());
        }
        let folder = GazetteerFolder::new(&self.folder).map_err(|error| failed(&error))?;
        let version = folder.current().map_err(|error| failed(&error))?.ok_or_else(|| self.missing())?;
        let mut in_force = self.in_force.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*in_force {
            Some((known, resolver)) if *known == version => Ok(resolver.clone()),
            _ => {
                let resolver = Arc::new(folder.open(&version).map_err(|error| failed(&error))?);
                *in_force = Some((version, resolver.clone()));
                Ok(resolver)
            }
        }
    }

    fn missing(&self) -> DataFusionError {
        DataFusionError::Execution(format!(
            "resolve_address: there is no gazetteer in {}: normalise the standard addresses first, or name another \
             folder with --gazetteer",
            self.folder.display()
        ))
    }
}

impl ScalarUDFImpl for ResolveAddress {
    fn name(&self) -> &str {
        "resolve_address"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let texts = ColumnarValue::values_to_arrays(&args.args)?
            .iter()
            .map(|array| Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()))
            .collect::<Result<Vec<StringArray>>>()?;
        let answers: ArrayRef = Arc::new(answers(&*self.resolver()?, &texts[0], texts.get(1)));
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?));
        }
        Ok(ColumnarValue::Array(answers))
    }
}

/// As `yibiao address resolve` names them.
fn fields() -> Fields {
    Fields::from(vec![
        Field::new("place_id", DataType::Int64, true),
        Field::new("level", DataType::Utf8, false),
        Field::new("provisional", DataType::Boolean, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("confidence", DataType::Float64, false),
        Field::new("division_code", DataType::Utf8, true),
    ])
}

/// A null text has a null answer.
fn answers(resolver: &Resolver, texts: &StringArray, areas: Option<&StringArray>) -> StructArray {
    // A column often holds the same address many times.
    let mut scratch = Scratch::remembering(texts.len());
    let mut places = Int64Builder::with_capacity(texts.len());
    let (mut levels, mut reasons, mut codes) =
        (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let mut provisional = BooleanBuilder::with_capacity(texts.len());
    let mut confidences = Float64Builder::with_capacity(texts.len());
    for row in 0..texts.len() {
        let text = if texts.is_null(row) { "" } else { texts.value(row) };
        let area = areas.filter(|areas| !areas.is_null(row)).map(|areas| areas.value(row));
        let answer = resolver.resolve(&Query { text, city: area, name: None }, &mut scratch);
        places.append_option(answer.place.and_then(|place| i64::try_from(place).ok()));
        levels.append_value(answer.level.as_str());
        provisional.append_value(answer.provisional);
        reasons.append_value(answer.reason.as_str());
        // Three digits say all that it says; the rest of a binary fraction is noise to the reader.
        confidences.append_value((f64::from(answer.confidence) * 1000.0).round() / 1000.0);
        codes.append_option(answer.division_code.map(|code| format!("{code:012}")));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(places.finish()),
        Arc::new(levels.finish()),
        Arc::new(provisional.finish()),
        Arc::new(reasons.finish()),
        Arc::new(confidences.finish()),
        Arc::new(codes.finish()),
    ];
    StructArray::new(fields(), columns, texts.nulls().map(|nulls| NullBuffer::new(nulls.inner().clone())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use datafusion::prelude::SessionContext;
    use yibiao_address::{Divisions, GazetteerBuilder, Level, StandardAddress};

    use super::*;

    /// A folder with one dwelling's gazetteer in force.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = GazetteerBuilder::new(Divisions::bundled());
        builder
            .add(StandardAddress {
                place: 7,
                level: Level::Dwelling,
                city: "南京市".into(),
                county: "鼓楼区".into(),
                road: "上海路".into(),
                number: "12号".into(),
                compound: "青禾新村".into(),
                building: "25幢".into(),
                unit: "2单元".into(),
                room: "402室".into(),
                ..StandardAddress::default()
            })
            .unwrap();
        builder.finish(&dir.path().join("gazetteer-one.ybg")).unwrap();
        std::fs::write(dir.path().join("CURRENT"), "one").unwrap();
        dir
    }

    async fn ask(gazetteer: &std::path::Path, sql: &str) -> Result<String> {
        let context = SessionContext::new();
        context.register_udf(resolve_address(gazetteer));
        let batches = context.sql(sql).await?.collect().await?;
        Ok(arrow::util::pretty::pretty_format_batches(&batches)?.to_string())
    }

    #[tokio::test]
    async fn a_text_or_a_column_of_texts_gives_the_place_and_why() {
        let dir = folder();
        let place = ask(
            dir.path(),
            "select r['place_id'] as p, r['level'] as l, r['reason'] as y \
             from (select resolve_address(t, '南京市') as r from (values ('青禾新村２５－２－４０２'), (null), ('')) as v(t))",
        );
        let table = place.await.unwrap();
        assert!(table.contains("| 7 | dwelling |"), "{table}");
        assert!(table.contains("empty"), "{table}");
        let one =
            ask(dir.path(), "select resolve_address('青禾新村25-2-402')['place_id'] as p").await.unwrap();
        assert!(one.contains("| 7 |"), "{one}");
    }

    #[tokio::test]
    async fn without_a_gazetteer_the_error_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = ask(dir.path(), "select resolve_address('x')").await.unwrap_err().to_string();
        assert!(error.contains("no gazetteer") && error.contains("--gazetteer"), "{error}");
    }
}
