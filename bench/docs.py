"""Renders docs/benchmarks.md from the results. Free text between the markers is kept."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from bench.results import RESULTS, Check, Row, load
from bench.rows import ROWS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- free text: begin -->", "<!-- free text: end -->"
INTRODUCTION = """\
# Benchmarks

Rendered by `python -m bench --write-docs` from `bench/results/*.json`; every single run is in there.

## How it is measured

* Programs take turns on the same tree, the order reversed every other time, each into a fresh destination. The
  figures are medians; a ratio is a ratio of medians.
* Every copy is checked after its run (all names, and size, time, mode and content of a sample): a wrong copy does
  not count, its row is given up as not measured.
* *Wall* is the whole process from start to end. *CPU* is user plus system time of all its processes. *Memory* is
  the highest sum of the proportional set sizes (PSS) of all its processes together, sampled every 100 ms.
* Trees are on tmpfs, so that the programs are compared and not the disks. Mounts with a rate or a delay are a FUSE
  file system of the tests (`tests/fuse/`) with requests of up to 1 MiB, listings that bring the attributes, and
  names and attributes cached for a second, read-ahead of 1 MiB (`duplex` also without any). The FUSE processes work
  on the same cores as the programs. NFS and SMB themselves were not measured.
* Memory is touched once before the big rows: a virtual machine gets fresh memory from its host at a fraction of
  the speed of a copy, and the first program would pay for it.
* `dunlin` runs as `./dunlin sync -a SOURCE DESTINATION --state-db FILE`, checksums (blake3) on, a new state file
  for each first run.

### Object stores

* The servers are those of the tests, started by the bench on the same machine: Azurite (in memory) for Azure, `rclone
  serve s3` (on tmpfs) for S3. They take more of the cores than any client, so wall times tell mostly of the server:
  the CPU of the client is the steadier figure. Versions of servers and peers stand below each row.
* `dunlin` runs as `./dunlin sync SOURCE DESTINATION --state-db FILE` (times kept, blake3 on, MD5 compared with what the
  server states), with 32 objects at a time, spread over its processes. `rclone copy --no-traverse` runs with its
  defaults and with `--transfers 32 --checkers 32`, and the better one counts; `s5cmd cp` and `azcopy copy` run with
  their defaults. s5cmd and azcopy do not set the times of files; azcopy is given a SAS, since it takes no account key.
* `azure10k`: sizes are log-normal below 1 MB with a mean of 20 KB. Each program downloads into an empty directory;
  names, sizes and a sample of contents are compared. `s3small`, `s3big`: each program uploads into an empty bucket and
  downloads what rclone uploaded. The bucket is compared likewise.
* `list100k`, `again100k`, `list1m`: no server here lists that fast, so `bench/stub.py` speaks ListObjectsV2 and List
  Blobs over objects that it makes up (16 bytes each, 100 to a directory; 1,000 and 5,000 keys to a page). It answers
  from pages that it has kept, so the client is what is measured. `list100k` is one process that makes facts of every
  key; `again100k` is a whole sync whose requests the server counts; `list1m` is a dry run against an empty directory
  and a check of two containers, with the memory of all processes.
* `faults`: the proxy of the tests stands between `dunlin` and `rclone serve s3`: 5 % of the requests are reset, 5 % are
  answered 503 with `Retry-After: 1`, 1 % of the answers are cut, all come 10 ms late. Every byte is compared.

### Scale

* `scale-again`: empty files, so that only names and times are looked at. The run that made the copy began more than a
  minute after the last change at the source, which is what `--ctime-skip` asks for with its default margin; each run
  is checked to have skipped all directories, or none.
* `scale-generated`, and `scale-onedir` where it says *computed*: no disk here holds so many files, so both sides are
  `bench/made.py`. It is the real program from the command line to the state file, with forked movers; only the local
  store is exchanged for one that computes names and facts as they are listed, which is part of the time. Both sides
  are equal, so nothing is copied, but every pair is compared, and recorded by the first run. The state lies on a disk.
* `scale-onedir`: both sides list in no order, each in another one. Of 1,000 names one is only at the source, one only
  at the destination, one has another time there; the names that were copied and deleted are compared with those that
  had to be, one by one.
* `scale-failing`: of the directories that fail, one half cannot be listed at the source and the other not at the
  destination. The program runs without the capabilities by which root reads everything. Counts must be exact, all
  others copied, and nothing written into those that fail; a run after it, with everything readable, copies the rest.
* `scale-caps`: processes are looked at from outside every 50 ms for a minute, then the run is ended (it would go on for
  long). *CPU* is the kernel's clock of each process, as a share of all cores; *mean* is over the minute, *busiest* the
  window with the most. *Resident* is the sum over all processes, which counts shared pages once for each.

### The node tree of a backup

* `index`: names, sizes and times are those of `/usr`, repeated below directories with new names; node ids, checksums
  and fingerprints are computed. The larger tree is computed as a whole. Every step is a process of its own. Bytes for a
  node are those of the file with everything in it, but for the fingerprints and page references, told apart: lookups
  and sums never touch them.

### Backups

* `backup-small`, `backup-large`: each program with an empty repository of its own, which is made before and not timed,
  encrypted, compressed with zstd (borg is asked for level 3, the others use what they use), its cache beside it. Then
  the same steps in turn. What was restored is compared with the source.
* `backup-memory`: one run of each; files hold up to 16 bytes.
* `backup-billion`: no billion files were backed up. Three sizes were, and a straight line through them is followed to a
  billion; the slopes between them say how straight it is. What was not run is named below the row.
* `backup-azfiles`: the share is that of the emulator in `tests/emulators/`, which counts; the repository is local.

## How to repeat it

    make bench                             # all rows, at least five pairs each
    make bench ARGS="small again"          # some rows
    make bench ARGS="azure10k s3small s3big --pairs 5"                     # about 20 minutes
    make bench ARGS="list100k again100k list1m faults --pairs 3"           # about 15 minutes
    make bench ARGS="scale-again scale-failing --pairs 5"                  # about 5 minutes, 3 GB of memory
    make bench ARGS="scale-generated scale-onedir scale-caps"              # about 25 minutes, 5 GB of memory
    make bench ARGS="index"                # about 10 minutes, 6 GB of disk; --nodes 2000000 takes one
    make bench ARGS="backup-small backup-large --pairs 3"                  # --gib 1: smaller files; 12 GB of memory
    make bench ARGS="backup-memory backup-billion"                         # --files 1000000; about 15 minutes
    make bench ARGS="--quick"              # does it work at all? the figures mean nothing
    make bench ARGS="--write-docs"         # only render this page from the stored results
"""
PLACEHOLDER = "Not written yet."


def render(folder: Path = RESULTS, page: Path = PAGE) -> str:
    """The page as text, with the free text that ``page`` has now."""
    rows = [load(path) for name in ROWS if (path := folder / f"{name}.json").exists()]
    before = page.read_text() if page.exists() else ""
    kept = re.search(re.escape(BEGIN) + r"\n(.*?)\n?" + re.escape(END), before, re.S)
    parts = [INTRODUCTION]
    if rows:
        parts += ["## Machine\n", machine(rows), "## Against the bars\n", bars(rows)]
    parts += [f"## What falls short\n\n{BEGIN}\n{kept[1] if kept else PLACEHOLDER}\n{END}\n"]
    if rows:
        parts += ["## All figures\n", *(figures(row) for row in rows)]
    return "\n".join(parts)


def machine(rows: list[Row]) -> str:
    """The facts about the machine; where rows were measured on several dates, all of them."""
    names = list(rows[-1].machine)
    lines = ["| | |", "|---|---|"]
    for name in names:
        values = sorted({row.machine.get(name, "") for row in rows})
        lines.append(f"| {name} | {', '.join(values)} |")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Three digits that matter, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def bars(rows: list[Row]) -> str:
    """One line per figure that has a bar."""
    lines = ["| row | what | measured | bar | |", "|---|---|---:|---:|---|"]
    for row in rows:
        for check in row.checks:
            if check.passed is not None:
                lines.append(
                    f"| {row.name}{' (quick)' if row.quick else ''} | {check.what} | {measured(check)} "
                    f"| {check.bar} | {check.verdict} |"
                )
    return "\n".join(lines) + "\n"


def measured(check: Check) -> str:
    """Figure and unit."""
    return f"{number(check.value)} {check.unit}"


def figures(row: Row) -> str:
    """Everything a row found."""
    lines = [f"### {row.name}: {row.title}\n"]
    if row.runs:
        lines += ["| program | runs | wall s (least to most) | CPU s | memory MB |", "|---|---:|---:|---:|---:|"]
        lines += [run_line(name, runs) for name, runs in row.runs.items()]
        lines.append("")
    others = [check for check in row.checks if check.passed is None]
    if others:
        lines += ["| what | measured |", "|---|---:|"]
        lines += [f"| {check.what} | {measured(check)} |" for check in others]
        lines.append("")
    lines += [f"* {note}" for note in row.notes]
    if row.notes:
        lines.append("")
    return "\n".join(lines)


def run_line(name: str, runs: list[dict[str, Any]]) -> str:
    """Medians of one program."""
    walls = [run["wall"] for run in runs]
    cpu, memory = (statistics.median(run[what] for run in runs) for what in ("cpu", "peak_pss"))
    spread = f"{min(walls):.3g}–{max(walls):.3g}"
    return f"| {name} | {len(runs)} | {statistics.median(walls):.3g} ({spread}) | {cpu:.3g} | {memory / 1e6:.0f} |"
