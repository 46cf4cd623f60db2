"""Rows about backups: many small files, a few large ones, memory, requests to a share of Azure Files."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from bench.context import Context, prefault, say
from bench.measure import Measured, remove
from bench.results import Check, Row, at_least, at_most
from bench.rows.copies import MB, small_tree
from bench.trees import Tree, check_copy
from bench.vaults import Vault, can_restore, vaults

MIB = 1 << 20
Step = Callable[[Vault], Measured | None]


def turns(context: Context, row: Row, programs: Sequence[Vault], number: int, name: str, step: Step) -> None:
    """One step of every program, in turn, the order reversed every other time; None: it was not to be measured."""
    for vault in programs if number % 2 == 0 else reversed(programs):
        if context.only_peers and vault.name == "dunlin":
            continue
        measured = step(vault)
        if measured is None:
            continue
        row.runs.setdefault(f"{vault.name}, {name}", []).append({**measured.as_dict(), "repository": vault.size})
        say(
            f"  {row.name} {number + 1}/{context.pairs} {vault.name}, {name}: {measured.wall:.2f} s wall, "
            f"{measured.cpu:.2f} s CPU, {measured.peak_pss / 1e6:.0f} MB, repository {vault.size / 1e6:.1f} MB"
        )


def saving(context: Context, source: Path) -> Step:
    """The step that backs a source up."""
    return lambda vault: context.run(vault.save(source), vault.login)


def compared(row: Row, step: str, other: str, bar: float | None) -> None:
    """How many times as fast dunlin was in a step as another program."""
    ours, theirs = f"dunlin, {step}", f"{other}, {step}"
    if ours in row.runs and theirs in row.runs:
        ratio = row.ratio(theirs, ours)
        what = f"{step}: speed against {other}"
        row.checks.append(at_least(what, ratio, bar) if bar else Check(what, ratio, "×"))


def small(context: Context) -> Row:
    """Many small files: first, unchanged, restored."""
    tree = small_tree(context)
    row = Row("backup-small", f"backup of {tree.count:,} files of ~4 KB in {tree.folders:,} directories, tmpfs")
    prefault(context, context.fewer(2500, 50) * MB)
    source, copy = context.tree(tree), context.work / "restored"
    programs = vaults(context)

    def restore(vault: Vault) -> Measured | None:
        if vault.name == "dunlin" and not can_restore():
            return None
        remove(copy)
        measured = context.run(vault.back(copy), vault.login)
        check_copy(source, vault.restored(source, copy))
        remove(copy)
        return measured

    for number in range(context.pairs):
        for vault in programs:
            vault.again(context)
        save = saving(context, source)
        turns(context, row, programs, number, "first", save)
        turns(context, row, programs, number, "unchanged", save)
        turns(context, row, programs, number, "restored", restore)
    for other in ("restic", "borg"):
        for step, bar in (("first", 2.0), ("unchanged", 4.0), ("restored", 2.0)):
            compared(row, step, other, bar if other == "restic" else None)
    _no_larger(row, "first", "repository against restic's")
    if "dunlin, first" in row.runs:
        row.checks.append(Check("first: CPU per file", row.median("dunlin, first", "cpu") / tree.count * 1e6, "µs"))
    if not can_restore():
        row.notes.append("`dunlin restore` was not there yet")
    _end(row, programs)
    return row


def _no_larger(row: Row, step: str, what: str) -> None:
    if f"dunlin, {step}" in row.runs and f"restic, {step}" in row.runs:
        row.checks.append(at_most(what, row.ratio(f"dunlin, {step}", f"restic, {step}", "repository"), 1.0))


def _end(row: Row, programs: Sequence[Vault]) -> None:
    row.notes.append("versions: " + ", ".join(f"{vault.name} {vault.version}" for vault in programs))
    for vault in programs:
        remove(vault.place)


def large(context: Context) -> Row:
    """Large files: first, after a change in place, after an insertion at the front."""
    total = 64 * MIB if context.quick else int(context.gib * (1 << 30))
    row = Row("backup-large", f"backup of {total / (1 << 30):g} GiB of mixed large files, tmpfs")
    source, programs = context.work / "large", vaults(context, "dunlin", "restic")
    prefault(context, 2 * total)
    for number in range(context.pairs):
        make_large(source, total)
        for vault in programs:
            vault.again(context)
        save = saving(context, source)
        turns(context, row, programs, number, "first", save)
        change_in_place(source, total // 100)
        turns(context, row, programs, number, "1 % changed in place", save)
        insert_in_front(source)
        turns(context, row, programs, number, "insertion at the front", save)
        remove(source)
    steps = ("first", "1 % changed in place", "insertion at the front")
    for step in steps:
        compared(row, step, "restic", 1.5)
    _no_larger(row, "first", "first: repository against restic's")
    for before, step in pairwise(steps):
        grown = {}
        for vault in programs:
            if f"{vault.name}, {step}" in row.runs:
                names = (f"{vault.name}, {step}", f"{vault.name}, {before}")
                grown[vault.name] = row.median(names[0], "repository") - row.median(names[1], "repository")
                row.checks.append(Check(f"{step}: growth of {vault.name}", grown[vault.name] / MB, "MB"))
        if len(grown) == 2:
            row.checks.append(at_most(f"{step}: growth against restic's", grown["dunlin"] / grown["restic"], 1.0))
    row.notes.append(
        "a quarter of the bytes does not compress, a quarter is noise of 16 letters, half is put together from pieces "
        "of text; files are of 1/8, 1/16, 1/64 and 1/256 of the whole. Changed in place: pieces of 256 KiB. Inserted: "
        "1,000 bytes into each of the six largest"
    )
    _end(row, programs)
    return row


def make_large(root: Path, total: int) -> None:
    """Files that are the same at every run: two of an eighth, four of a sixteenth, 16 of a 64th, 64 of a 256th."""
    chance = random.Random(11)
    words = [chance.randbytes(4).hex().encode() for _ in range(4000)]
    text = b" ".join(chance.choices(words, k=(16 * MIB if total > 1 << 30 else MIB) // 9))
    sixteen = bytes(b"etaoin shrdlucmf"[n % 16] for n in range(256))
    sizes = [total // 8] * 2 + [total // 16] * 4 + [total // 64] * 16 + [total // 256] * 64
    for number, size in enumerate(sizes):
        path = root / f"d{number % 5}" / f"file-{number:03d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for block in _blocks(chance, number % 4, size, text, sixteen):
                file.write(block)


def _blocks(chance: random.Random, kind: int, size: int, text: bytes, letters: bytes) -> Iterator[bytes]:
    left = size
    while left:
        if kind == 0:
            block = chance.randbytes(min(left, MIB))
        elif kind == 1:
            block = chance.randbytes(min(left, MIB)).translate(letters)
        else:
            start = chance.randrange(len(text) - (16 << 10))
            block = text[start : start + min(left, 16 << 10)]
        left -= len(block)
        yield block


def change_in_place(root: Path, much: int) -> None:
    """Write over so many bytes, in pieces of 256 KiB, anywhere."""
    chance = random.Random(13)
    piece = 256 << 10
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size > 2 * piece)
    weights = [path.stat().st_size for path in files]
    for path in chance.choices(files, weights, k=max(much // piece, 1)):
        with open(path, "r+b") as file:
            file.seek(chance.randrange(path.stat().st_size - piece))
            file.write(chance.randbytes(piece))


def insert_in_front(root: Path) -> None:
    """1,000 bytes before the content of each of the six largest files."""
    files = sorted((path for path in root.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size)[:6]
    for number, path in enumerate(files):
        new = path.with_name("new")
        with open(path, "rb") as old, open(new, "wb") as file:
            file.write(random.Random(number).randbytes(1000))
            shutil.copyfileobj(old, file, MIB)
        os.replace(new, path)


def memory(context: Context) -> Row:
    """Memory when there are very many files."""
    count = 4000 if context.quick else context.files
    row = Row("backup-memory", f"backup of {count:,} files: memory of all processes")
    programs = vaults(context, "dunlin", "restic")
    shapes = {
        "in 1,000 directories": Tree("million", 1000, count // 1000, 0, 16),
        "in one directory": Tree("million-one", 0, count, 0, 16),
    }
    for where, tree in shapes.items():
        source = context.tree(tree)
        for vault in programs:
            vault.again(context)
        save = saving(context, source)
        # Memory hardly varies: one run each.
        turns(context, row, programs, 0, f"{where}, first", save)
        turns(context, row, programs, 0, f"{where}, unchanged", save)
        shutil.rmtree(source)
        (context.work / f"{tree.name}.done").unlink()
    for name in [name for name in row.runs if name.startswith("dunlin")]:
        row.checks.append(at_most(f"{name}: peak resident", row.median(name, "peak_pss") / MB, 500, "MB"))
    _end(row, programs)
    return row


def azfiles(context: Context) -> Row:
    """Requests to a share of Azure Files, from the share into a local repository."""
    from tests.emulators.azure_files import azure_files

    count = context.fewer(10_000, 1000)
    row = Row("backup-azfiles", f"backup of {count:,} files of 4 KB in a share of Azure Files: requests")
    with azure_files() as files:
        share = files.share()
        names = [f"d{n:03d}" for n in range(count // 100)]
        files.fill(share, "", names, directories=True)
        for n, name in enumerate(names):
            files.fill(share, name, [f"file-{i:03d}.txt" for i in range(100)], data=random.Random(n).randbytes(4000))
        (vault,) = vaults(context, "dunlin")
        vault.again(context)
        login = {**vault.login, "AZURE_STORAGE_CONNECTION_STRING": files.connection_string}
        steps = {"first": vault.save(f"azfiles://{share}"), "unchanged": vault.save(f"azfiles://{share}")}
        if can_restore():
            steps["restored"] = vault.back(f"azfiles://{files.share()}")
        else:
            row.notes.append("`dunlin restore` was not there yet")
        for step, command in steps.items():
            before = files.server.count()
            measured = context.run(command, login)
            row.runs[f"dunlin, {step}"] = [measured.as_dict()]
            asked = (files.server.count() - before) / count * 1000
            row.checks.append(Check(f"{step}: requests per 1,000 files", asked, ""))
            say(f"  {row.name} {step}: {row.checks[-1].value:.1f} requests per 1,000 files, {measured.wall:.2f} s")
    _end(row, [vault])
    return row
