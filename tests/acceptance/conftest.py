"""What the tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, for one file: while it is driven, no other event loop can run in this thread."""
    from tests.acceptance.pages import chromium

    with chromium() as found:
        yield found
