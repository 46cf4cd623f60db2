import pytest

from dunlin.backup.verified import Subset
from dunlin.errors import DunlinError
from dunlin.jobs.verify import subset


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2/7", Subset(part=(2, 7))),
        ("2.5%", Subset(fraction=0.025)),
        ("100%", Subset(fraction=1.0)),
        ("20G", Subset(size=20 << 30)),
    ],
)
def test_parts_of_the_data(text: str, meant: Subset) -> None:
    assert subset(text) == meant


@pytest.mark.parametrize("text", ["0/7", "8/7", "0%", "101%", "much", "1/2/3"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(DunlinError, match="no part of the data"):
        subset(text)
