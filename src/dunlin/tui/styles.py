"""What a line is made of, and what its styles look like.

A line is pieces: a text and the names of its styles, with a blank between. What the names look like is up to the theme.
"""

from __future__ import annotations

Piece = tuple[str, str]
Line = list[Piece]

PLAIN, DIM, STRONG, GOOD, WARN, BAD, TITLE = "", "dim", "strong", "good", "warn", "bad", "title"

STYLES = {
    DIM: "$foreground-muted",
    STRONG: "bold",
    GOOD: "$text-success",
    WARN: "$text-warning",
    BAD: "bold $text-error",
    TITLE: "$text-primary",
}
"""In the words of Textual; the theme knows the colours."""

ANSI_STYLES = {
    DIM: "dim",
    STRONG: "bold",
    GOOD: "ansi_green",
    WARN: "ansi_yellow",
    BAD: "bold ansi_red",
    TITLE: "ansi_cyan",
}
"""The same with the colours of the terminal itself."""
