"""The colours of pages, light and dark, as CSS variables; tests measure the contrast of each text on its ground."""

from __future__ import annotations

LIGHT = {
    "ground": "#f4f6f8", "card": "#ffffff", "text": "#14202b", "dim": "#51606f", "line": "#d5dde5",
    "accent": "#1459c7", "files": "#8a3fb0", "good": "#176a2e", "fair": "#875200", "bad": "#b3211a", "busy": "#1459c7",
    "pale": "#e9eef4", "paused": "#c5ccd4", "throttled": "#f5d38a",
}  # fmt: skip
DARK = {
    "ground": "#0e141b", "card": "#161f29", "text": "#e7edf3", "dim": "#9db0c1", "line": "#2b3847",
    "accent": "#6db3ff", "files": "#d6a2f2", "good": "#5ed47b", "fair": "#ecb84a", "bad": "#ff8f86", "busy": "#6db3ff",
    "pale": "#202c39", "paused": "#46525f", "throttled": "#5f4a17",
}  # fmt: skip

TEXTS = ("text", "dim", "accent", "good", "fair", "bad", "busy")
"""Colours that text is written in."""
GROUNDS = ("ground", "card", "pale")
"""Colours that text stands on."""


def style() -> str:
    """The variables: those of the system, unless the page's switch says otherwise; paper is light."""
    light, dark = _variables(LIGHT), _variables(DARK)
    return (
        f":root{{color-scheme:light;{light}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}"
    )


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
