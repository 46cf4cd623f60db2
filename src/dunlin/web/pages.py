"""What all pages have, and those of few words: the login, and refusals before any route is looked for."""

from __future__ import annotations

from dunlin.web.markup import Child, Safe, el


def head(title: str, sheet: str, *more: Child) -> Safe:
    """The head of every page. `sheet`: the name of its style sheet."""
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} - dunlin"),
        # Else a browser asks for /favicon.ico.
        el("link", rel="icon", href="data:,"),
        el("link", rel="stylesheet", href=f"/assets/{sheet}"),
        more,
    )


def document(head: Safe, body: Safe) -> str:
    """A whole page."""
    return f'<!doctype html>\n<html lang="en">{head.markup}{body.markup}</html>\n'


def plain(title: str, *content: Child) -> str:
    """A page of few words, for who has not logged in."""
    return document(head(title, "login.css"), el("body", el("main", el("h1", "dunlin"), content)))
