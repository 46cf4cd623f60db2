"""Pages of few words: the login, and refusals before any route is looked for."""

from __future__ import annotations

from dunlin.web.markup import Child, el


def plain(title: str, *content: Child) -> str:
    """A page of few words, for who has not logged in."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title} - dunlin"),
        el("link", rel="icon", href="data:,"),
        el("link", rel="stylesheet", href="/assets/login.css"),
    )
    body = el("body", el("main", el("h1", "dunlin"), content))
    return f'<!doctype html>\n<html lang="en">{head.markup}{body.markup}</html>\n'
