#!/usr/bin/env python3
"""Check the documentation: links and anchors, pages nobody reaches, undocumented commands, changelog fragments.

Prints one line per problem and ends with 1 when there is any. The unit tests run the same checks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TYPES = ("added", "changed", "fixed")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Every page that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "changelog.d" / "README.md"]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that headings make, as GitHub forms them."""
    titles = re.findall(r"^#+\s+(.*?)\s*$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def targets(page: Path) -> Iterator[tuple[str, Path, str]]:
    """(link as written, file, anchor) of every link within the repository."""
    for link in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", link):
            name, _, anchor = link.partition("#")
            yield link, (page.parent / name).resolve() if name else page, anchor


def links() -> Iterator[str]:
    """Links that lead nowhere."""
    for page in pages():
        for link, file, anchor in targets(page):
            if not file.exists():
                yield f"{page.relative_to(ROOT)}: {link} does not exist"
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                yield f"{page.relative_to(ROOT)}: {link} has no such heading"


def orphans() -> Iterator[str]:
    """Pages of docs/ that no chain of links from the README reaches; a link to a folder reaches what is in it."""
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for _, file, _ in targets(page):
            waiting += [file] if file.suffix == ".md" and file.exists() else list(file.glob("*.md"))
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page.resolve() not in reached:
            yield f"{page.relative_to(ROOT)}: no page links to it"


def commands() -> Iterator[str]:
    """Commands that no page shows, and commands, options and arguments without help."""
    import click

    from dunlin.cli import main as module

    main = next((value for value in vars(module).values() if isinstance(value, click.Group)), None)
    if main is None:
        yield "dunlin.cli.main holds no click group: its commands cannot be checked"
        return
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages())

    def visit(command: click.Command, words: str) -> Iterator[str]:
        context = click.Context(command, info_name=words)
        if words not in text:
            yield f"no page shows `{words}`"
        if not command.help:
            yield f"`{words}` has no help"
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden and not parameter.help:
                yield f"`{words} {parameter.opts[0]}` has no help"
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                if child is None:
                    yield f"`{words} {name}` cannot be loaded"
                elif not child.hidden:
                    yield from visit(child, f"{words} {name}")

    yield from visit(main, "dunlin")


def fragments() -> Iterator[str]:
    """Changelog fragments that are not as changelog.d/README.md says."""
    for path in sorted((ROOT / "changelog.d").iterdir()):
        if path.name == "README.md":
            continue
        if not re.fullmatch(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(TYPES)})\.md", path.name):
            yield f"changelog.d/{path.name}: not named NUMBER.TYPE.md or +word.TYPE.md, TYPE one of {', '.join(TYPES)}"
            continue
        words = path.read_text(encoding="utf-8").strip()
        if not re.fullmatch(r"[A-Z`][^\n]*\.", words) or len(words) > 600:
            yield f"changelog.d/{path.name}: not one paragraph of up to 600 characters, capital letter to full stop"


def main() -> int:
    problems = [line for check in (links, orphans, fragments, commands) for line in check()]
    print("\n".join(problems) or f"{len(pages())} pages, all links and commands in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
