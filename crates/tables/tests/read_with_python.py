"""Reads a lake folder with deltalake and polars, as a centre would, and prints counts and a checksum per table.

    python read_with_python.py <lake> [table ...]        needs: pip install deltalake polars

The lake is a folder, or s3://bucket/prefix with the usual variables in the environment; then tables must be named.

Each line: table, version, rows as deltalake counts them, rows as polars reads them, checksum. The checksum does not
depend on the order of rows or files. Exits with 1 where the two disagree, where a change is there twice, or where a
file uses something (deletion vectors) that not every tool reads.
"""

import hashlib
import sys
from pathlib import Path

import polars as pl
from deltalake import DeltaTable


def checksum(frame: pl.DataFrame) -> str:
    """A sum of row hashes: the same rows in any order give the same."""
    total = 0
    columns = sorted(frame.columns)
    for row in frame.select(columns).iter_rows():
        digest = hashlib.blake2b(repr(row).encode(), digest_size=8).digest()
        total = (total + int.from_bytes(digest, "big")) % (1 << 64)
    return f"{total:016x}"


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    lake = sys.argv[1]
    names = sys.argv[2:]
    if not names and "://" not in lake:
        names = sorted(p.name for p in Path(lake).iterdir() if (p / "_delta_log").is_dir())
    if not names:
        print(f"no Delta tables in {lake}")
        return 1
    bad = 0
    for name in names:
        table = DeltaTable(f"{lake}/{name}")
        protocol = table.protocol()
        features = set(protocol.reader_features or [])
        counted = table.count()
        frame = pl.read_delta(table)
        problems = []
        if counted != frame.height:
            problems.append("deltalake and polars disagree")
        if protocol.min_reader_version > 1 or features:
            problems.append(f"needs reader version {protocol.min_reader_version} {sorted(features)}")
        if {"shard", "sequence"} <= set(frame.columns):
            if frame.select("shard", "sequence").is_duplicated().any():
                problems.append("a change is there twice")
        elif "place_id" in frame.columns and "warning_id" not in frame.columns:
            if frame["place_id"].is_duplicated().any():
                problems.append("a place is there twice")
        line = [name, table.version(), counted, frame.height, checksum(frame)]
        print("\t".join(map(str, line + problems)))
        bad += bool(problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
