#!/usr/bin/env python3
"""Peers on the same texts in the same run: cpca, jionlp, addressparser and pygeocoding (PyPI) beside yibiao.

usage: peers.py BINARY FOLDER [--only NAME] [--venvs DIR]
  BINARY   the yibiao program (release build)
  FOLDER   holds *_dev.jsonl or *_test.jsonl: lines {"text", "spans": [[tag, start, end], …]}
  --only   only sets whose file name contains this
  --venvs  where the virtual environments of the peers are made and kept (default: ~/.cache/yibiao/peers)

Plain Python 3, no packages. A peer that cannot be installed or started is skipped, loudly. All run on one core, the same.

Measures
  county.full   of rows that label a province, city or county: all that is labelled is right
  county.bare   the same of rows that label a county, with the labelled provinces and cities taken out of the text
  a second      records in a second of processor time, once loaded and warm; of yibiao the whole command, its start and
                its JSON included, on the texts ten times over
"""
import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Pinned, so that the table can be made again. What a package forgets to ask for stands behind it.
PEERS = {
    "cpca": ["cpca==0.5.5"],
    "jionlp": ["jionlp==1.5.31"],
    "addressparser": ["addressparser==0.2.4", "six"],
    "pygeocoding": ["pygeocoding==1.1.3"],
}
SUFFIX = re.compile(r"(特别行政区|维吾尔自治区|壮族自治区|回族自治区|自治区|自治州|自治县|地区|新区|省|市|区|县|盟|旗)$")
MUNICIPAL = {"北京", "上海", "天津", "重庆"}
TAGS = {"prov": "province", "city": "city", "district": "county"}
YIBIAO_ROUNDS = 10


# ---- what runs inside a peer's own environment: texts in, (province, city, county) out


def reader(peer):
    """A function from a list of texts to a list of (province, city, county); a text that makes the peer raise gives none."""
    if peer == "cpca":
        import cpca

        return lambda texts: columns(cpca.transform(texts))
    if peer == "addressparser":
        import addressparser

        return lambda texts: columns(addressparser.transform(texts))
    if peer == "jionlp":
        import jionlp

        keys = ("province", "city", "county")
        return each(lambda text: tuple(jionlp.parse_location(text)[key] for key in keys))
    if peer == "pygeocoding":
        plain = __import__("builtins").open
        # It opens its own files by names with backslashes, which only Windows takes for folders.
        __import__("builtins").open = lambda path, *a, **k: plain(str(path).replace("\\", "/"), *a, **k)
        from geocoding import Geocoding

        geocoding = Geocoding()

        def normal(text):
            address = geocoding.normalizing(text)
            return (address.province, address.city, address.district) if address else (None, None, None)

        return each(normal)
    raise SystemExit(f"no such peer: {peer}")


def columns(frame):
    return list(zip(frame["省"].tolist(), frame["市"].tolist(), frame["区"].tolist()))


def each(one):
    def safely(text):
        try:
            return one(text)
        except Exception:
            return (None, None, None)

    return lambda texts: [safely(text) for text in texts]


def inside(peer):
    """Reads lists of texts, one JSON list a line; writes {"answers", "seconds"}, one a line."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the packages print is no answer
    read = reader(peer)
    read(["江苏省南京市鼓楼区", "浙江杭州西湖区"])
    for line in sys.stdin:
        texts = json.loads(line)
        start = time.process_time()
        answers = read(texts)
        seconds = time.process_time() - start
        answers = [[name if isinstance(name, str) else None for name in answer] for answer in answers]
        print(json.dumps({"answers": answers, "seconds": seconds}, ensure_ascii=False), file=out, flush=True)


# ---- what runs outside


def one_core():
    """Keeps this process, and what it starts, on one core: the peers use no more."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def environment(venvs, peer):
    """The Python of the peer's own environment, made where it is missing."""
    folder = venvs / peer
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = " ".join(PEERS[peer])
    if not (done.exists() and done.read_text() == wanted):
        print(f"installing {wanted} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PEERS[peer]], check=True)
        done.write_text(wanted)
    return python


def ask_peer(venvs, peer, lists):
    """The answers to each list of texts, and records a second; None where the peer does not run."""
    try:
        python = environment(venvs, peer)
        run = subprocess.run(
            [str(python), __file__, "--inside", peer],
            input="".join(json.dumps(texts, ensure_ascii=False) + "\n" for texts in lists),
            stdout=subprocess.PIPE, encoding="utf-8", check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"\nSKIPPED {peer}: {error}\n", file=sys.stderr)
        return None
    replies = [json.loads(line) for line in run.stdout.splitlines()]
    answers = [[dict(zip(TAGS.values(), answer)) for answer in reply["answers"]] for reply in replies]
    return answers, [len(texts) / reply["seconds"] for texts, reply in zip(lists, replies)]


def seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ask_yibiao(binary, lists):
    answers, speeds = [], []
    for texts in lists:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            file.writelines(text + "\n" for text in texts * YIBIAO_ROUNDS)
            file.seek(0)
            start = seconds_of_children()
            run = subprocess.run([binary, "address", "parse"], stdin=file, stdout=subprocess.PIPE, check=True)
            speeds.append(len(texts) * YIBIAO_ROUNDS / (seconds_of_children() - start))
        lines = run.stdout.decode("utf-8").splitlines()[:len(texts)]
        answers.append([{key: json.loads(line)[key] for key in TAGS.values()} for line in lines])
    return answers, speeds


def stem(name):
    cut = SUFFIX.sub("", name or "")
    return cut if len(cut) >= 2 else name or ""


def labelled(row, tag):
    return next((row["text"][start:end] for t, start, end in row["spans"] if t == tag), None)


def right(row, text, answer):
    """Is every labelled division answered? Peers give names; yibiao gives spans too, and a division that the text calls
    by a former name counts by its span, as the project's scorer has it."""
    name, written = {}, {}
    for level in TAGS.values():
        got = answer.get(level)
        name[level] = (got["name"] if isinstance(got, dict) else got) or ""
        span = got.get("span") if isinstance(got, dict) else None
        written[level] = text[span[0]:span[1]] if span else None
    for tag, level in TAGS.items():
        gold = labelled(row, tag)
        if not gold or stem(name[level]) == stem(gold) or written[level] == gold:
            continue
        if tag == "city" and stem(gold) in MUNICIPAL and stem(name["province"]) == stem(gold):
            continue
        other = "city" if tag == "district" else "county"
        if tag != "prov" and stem(name[other]) == stem(gold) and not name[level]:
            continue
        return False
    return True


def bare(row):
    text = row["text"]
    for tag, start, end in sorted(row["spans"], key=lambda span: -span[1]):
        if tag in ("prov", "city"):
            text = text[:start] + text[end:]
    return text


def sets(folder, only):
    for path in sorted(folder.iterdir()):
        if only in path.name and not path.name.startswith("pairs_") and re.search(r"_(dev|test)\.jsonl$", path.name):
            rows = [json.loads(line) for line in path.open(encoding="utf-8")]
            full = [row for row in rows if any(tag in TAGS for tag, _, _ in row["spans"])]
            named = [row for row in rows if labelled(row, "district") and (labelled(row, "prov") or labelled(row, "city"))]
            yield path.stem, [(full, [row["text"] for row in full]), (named, [bare(row) for row in named])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--venvs", type=Path, default=Path.home() / ".cache" / "yibiao" / "peers")
    args = parser.parse_args()
    asked = list(sets(args.folder, args.only))
    if not asked:
        raise SystemExit(f"{args.folder} holds no set whose name contains {args.only!r}")
    lists = [texts for _, measures in asked for _, texts in measures]
    args.venvs.mkdir(parents=True, exist_ok=True)
    for peer in PEERS:  # before all is bound to one core
        try:
            environment(args.venvs, peer)
        except (OSError, subprocess.CalledProcessError):
            pass  # said when it is asked
    one_core()
    print("| | " + " | ".join(f"{name} county.full | county.bare | a second" for name, _ in asked) + " |")
    print("|---" * (1 + 3 * len(asked)) + "|")
    for who in ["yibiao", *PEERS]:
        result = ask_yibiao(args.binary, lists) if who == "yibiao" else ask_peer(args.venvs, who, lists)
        if result is None:
            print(f"| {who} |" + " skipped | | |" * len(asked), flush=True)
            continue
        answers, speeds = result
        cells = []
        for at, (_, measures) in enumerate(asked):
            for of, (rows, texts) in enumerate(measures):
                got = answers[2 * at + of]
                cells.append(f"{sum(map(right, rows, texts, got)) / max(1, len(rows)):.4f}")
            cells.append(f"{speeds[2 * at]:,.0f}")
        print(f"| {who} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2])
    else:
        main()
