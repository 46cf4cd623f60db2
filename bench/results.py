"""What a row found, as data: checks against the bars of the table, and every single run. One JSON file per row."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Check:
    """One measured figure and what it must reach. ``passed`` None = reported only."""

    what: str
    value: float
    unit: str
    bar: str = ""
    passed: bool | None = None

    @property
    def verdict(self) -> str:
        """PASS, SHORT or nothing."""
        return "" if self.passed is None else "PASS" if self.passed else "SHORT"


def at_least(what: str, value: float, bar: float, unit: str = "×") -> Check:
    """A figure that must be ``bar`` or more."""
    return Check(what, value, unit, f"≥ {bar:g} {unit}", value >= bar)


def at_most(what: str, value: float, bar: float, unit: str = "×") -> Check:
    """A figure that must be ``bar`` or less."""
    return Check(what, value, unit, f"≤ {bar:g} {unit}", value <= bar)


@dataclass(slots=True)
class Row:
    """A row of the table, measured."""

    name: str
    title: str
    checks: list[Check] = field(default_factory=list)
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    quick: bool = False
    machine: dict[str, str] = field(default_factory=dict)

    def median(self, program: str, what: str = "wall") -> float:
        """The middle one of all runs of ``program``; KeyError when it never ran."""
        return float(statistics.median(run[what] for run in self.runs[program]))

    def ratio(self, program: str, other: str, what: str = "wall") -> float:
        """How many times as much ``program`` took as ``other``."""
        return self.median(program, what) / self.median(other, what)


def save(row: Row, folder: Path = RESULTS) -> Path:
    """Write the row as JSON; returns the file."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{row.name}.json"
    path.write_text(json.dumps(rounded(asdict(row)), indent=1, ensure_ascii=False) + "\n")
    return path


def load(path: Path) -> Row:
    """Read what ``save`` wrote."""
    data = json.loads(path.read_text())
    data["checks"] = [Check(**check) for check in data["checks"]]
    return Row(**data)


def rounded(value: Any) -> Any:
    """Floats to six digits: more is noise, and noise makes the files differ needlessly."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return value
