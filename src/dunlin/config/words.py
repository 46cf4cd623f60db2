"""What a person may have meant."""

from __future__ import annotations

from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str:
    """``did you mean sync?`` for a word that is not known, or ""."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.65)
    return f"did you mean {found[0]}?" if found else ""
