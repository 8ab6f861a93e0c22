//! What addresses are resolved against: a gazetteer, or a list of places made into one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use yibiao_address::{
    Answer, Divisions, Gazetteer, GazetteerBuilder, Level, Query, Resolver, Scratch, StandardAddress,
};

/// What addresses are resolved against: a gazetteer, or a list of places.
#[derive(Debug, clap::Args)]
pub struct Places {
    /// Tab-separated places: place_id, city, name, address, lng, lat; several rows a place are several forms.
    #[arg(long, required_unless_present = "gazetteer", conflicts_with = "gazetteer")]
    places: Option<PathBuf>,

    /// A gazetteer file (.ybg), or a folder with a CURRENT one.
    #[arg(long)]
    gazetteer: Option<PathBuf>,
}

/// A place's id as the user knows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PlaceName {
    Number(u64),
    Text(Arc<str>),
}

impl std::fmt::Display for PlaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PlaceName::Number(id) => id.fmt(f),
            PlaceName::Text(id) => id.fmt(f),
        }
    }
}

/// A resolver, and the ids by which the user knows the places.
pub struct Opened {
    pub resolver: Resolver,
    /// Of a list of places: the user's id of place n + 1.
    ids: Vec<Arc<str>>,
    _built: Option<tempfile::TempDir>,
}

impl Opened {
    pub fn answer(&self, query: &Query<'_>, scratch: &mut Scratch) -> Answer<PlaceName> {
        self.resolver.resolve(query, scratch).map_ids(|id| self.name(id))
    }

    fn name(&self, id: u64) -> PlaceName {
        if self.ids.is_empty() {
            return PlaceName::Number(id);
        }
        match self.ids.get((id as usize).wrapping_sub(1)) {
            Some(name) => PlaceName::Text(name.clone()),
            // A provisional place has no row in the list.
            None => PlaceName::Text(id.to_string().into()),
        }
    }
}

impl Places {
    pub fn open(&self) -> Result<Opened> {
        if let Some(path) = &self.gazetteer {
            let resolver = if path.is_dir() {
                let folder = yibiao_normalise::GazetteerFolder::new(path)?;
                let version = folder.current()?.with_context(|| {
                    format!(
                        "{} holds no gazetteer yet: build one with `yibiao gazetteer build`",
                        path.display()
                    )
                })?;
                folder.open(&version)?
            } else {
                Resolver::new(Arc::new(Gazetteer::open(path)?))
            };
            return Ok(Opened { resolver, ids: Vec::new(), _built: None });
        }
        let Some(path) = &self.places else { bail!("give --places or --gazetteer") };
        let dir = tempfile::tempdir().context("making a folder for the gazetteer")?;
        let built = dir.path().join("places.ybg");
        let ids = build(path, &built)?;
        let resolver = Resolver::new(Arc::new(Gazetteer::open(&built)?));
        Ok(Opened { resolver, ids, _built: Some(dir) })
    }
}

/// Builds a gazetteer of the places in a tab-separated file; returns their ids in the file, in the order of their numbers.
fn build(path: &Path, out: &Path) -> Result<Vec<Arc<str>>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading places from {}", path.display()))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        header.iter().position(|column| *column == name).with_context(|| {
            format!(
                "{} has no column {name}; it needs place_id, city, name and address, tab-separated",
                path.display()
            )
        })
    };
    let (id, city, name, address) =
        (column("place_id")?, column("city")?, column("name")?, column("address")?);
    let (lng, lat) = (column("lng").ok(), column("lat").ok());
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    let mut ids: Vec<Arc<str>> = Vec::new();
    let mut numbers: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
    for (index, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        let degrees = |at: Option<usize>| at.and_then(|at| cell(at).parse::<f64>().ok());
        let place = *numbers.entry(cell(id).to_owned()).or_insert_with(|| {
            ids.push(cell(id).into());
            ids.len() as u64
        });
        builder
            .add(StandardAddress {
                place,
                level: Level::Compound,
                city: cell(city).to_owned(),
                name: Some(cell(name).to_owned()).filter(|name| !name.is_empty()),
                address: cell(address).to_owned(),
                lng_lat: degrees(lng).zip(degrees(lat)),
                ..StandardAddress::default()
            })
            .with_context(|| format!("line {} of {}", index + 2, path.display()))?;
    }
    builder.finish(out)?;
    Ok(ids)
}
