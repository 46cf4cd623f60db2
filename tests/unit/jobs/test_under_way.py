"""What a limited run of small files tells while their unit goes on."""

from __future__ import annotations

from dunlin.pace.schedule import parse_schedule
from dunlin.report import RecordingReport
from tests.unit.jobs.conftest import Places


class Telling(RecordingReport):
    """Remembers bytes under way, with what was counted at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.flying: list[tuple[float, int]] = []

    def gauge(self, name: str, value: float) -> None:
        super().gauge(name, value)
        if name == "flying_bytes":
            self.flying.append((value, self.counts["copied_bytes"]))


def test_bytes_under_way_are_told_before_any_file_is_counted(places: Places) -> None:
    for n in range(8):
        places.file(f"d/{n}", "x" * 40_000)
    report = Telling()
    result = places.run(report=report, bandwidth=parse_schedule("400K"))
    assert result.exit_code == 0
    total = 320_000
    assert any(0 < flying < total and not copied for flying, copied in report.flying)
    assert all(flying + copied <= total for flying, copied in report.flying)
    assert not report.tasks  # none of the files is large
