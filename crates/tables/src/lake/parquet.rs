//! How the tables' files are written.

use deltalake::parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::WriterProperties,
    schema::types::ColumnPath,
};

use super::layout::SEQUENCE;

/// Rows in a Parquet row group: small enough that a writer buffers a few tens of megabytes at most.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Numbers that say nothing and hardly recur: neither a dictionary nor compression makes them smaller, and a live table's
/// scan reads the places of all rows.
const RANDOM_NUMBERS: [&str; 1] = ["place_id"];

/// Columns whose values hardly recur: a dictionary of them is built in vain.
const HARDLY_RECUR: [&str; 6] =
    ["fact_id", "source_key", "raw_offset", "warning_id", "external_id", "address"];

/// For all tables; a table that lacks one of the columns is none the worse for it.
pub fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(1).expect("1 is a zstd level");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_column_dictionary_enabled(SEQUENCE.into(), false)
        .set_column_encoding(SEQUENCE.into(), Encoding::DELTA_BINARY_PACKED);
    for column in HARDLY_RECUR {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    for column in RANDOM_NUMBERS {
        let column = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_compression(column, Compression::UNCOMPRESSED);
    }
    properties.build()
}
