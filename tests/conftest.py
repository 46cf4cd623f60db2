"""What holds for every test: a clean environment, deterministic hypothesis, unit tests first."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.fixtures import (  # noqa: F401 - fixtures for whoever asks for one
    azfiles,
    azurite,
    gcs,
    moto_s3,
    postgres,
    rclone_s3,
    redis,
)

# Two noisy cores: a slow example says nothing. The same examples every time, so that a red run can be repeated;
# HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# Under nohup a hang-up is ignored, and in the background of a script an interrupt, also by every program that a test
# starts.
for ignored, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, usual)

HERE = Path(__file__).parent
ORDER = {"unit": 0, "packaging": 1}
"""Unit tests first: they fail fastest. Packaging keeps one worker busy while the others do the rest."""


def folder(item: pytest.Item) -> str:
    """The folder of tests/ that a test stands in, or `bench` for one of the benchmark's own."""
    return item.path.relative_to(HERE if item.path.is_relative_to(HERE) else HERE.parent).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.get(folder(item), 2))
    for item in items:
        if folder(item) == "packaging":
            # Its session fixtures build and install: once is enough.
            item.add_marker(pytest.mark.packaging)
            item.add_marker(pytest.mark.xdist_group("packaging"))


MOST_DESCRIPTORS = 256


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: each full look at it for cycles would take half a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Stores that a test let go hold directories until they are collected, and `select` knows 1,024 descriptors."""
    if len(os.listdir("/proc/self/fd")) > MOST_DESCRIPTORS:
        gc.collect()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is not there fails by name; who cannot be root leaves those tests out knowingly."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        reason = 'needs root, for mounts and owners: run as root, or leave these out with -m "not root"'
        pytest.fail(reason, pytrace=False)


@pytest.fixture(autouse=True)
def nobody_elses_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No configuration file or variable of the person who runs the tests takes part in them."""
    others = ("DUNLIN_", "GETBLOBZ_", "SYNC4LOONG_", "AZURE_", "AWS_", "GOOGLE_", "IDENTITY_", "STORAGE_EMULATOR_HOST")
    for name in [name for name in os.environ if name.upper().startswith(others)]:
        monkeypatch.delenv(name)
    empty = tmp_path_factory.getbasetemp() / "home"
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(empty / variable))
