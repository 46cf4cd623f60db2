"""The table of keys, compared with the options of the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dunlin.cli import parameters
from dunlin.cli.backup import command as backup_command
from dunlin.cli.base import Option
from dunlin.cli.dashboard import command as dashboard_command
from dunlin.cli.sync import command as sync_command
from dunlin.config import schema
from dunlin.config.credentials import CREDENTIALS, REPOSITORY, SIDES, side_flag
from dunlin.report.notify import EVENTS
from dunlin.stores.login import SECRET

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"
OPTIONS = {
    each.flag: each
    for command in (dashboard_command, backup_command, sync_command)
    for each in command.params
    if isinstance(each, Option)
}


def test_every_option_has_a_key_and_every_key_an_option() -> None:
    without = {"--config", "--mover-start", "-D", "-c", "-h"}
    without |= {"--queue"}  # queue.url: a key of the service, too
    without |= {"--force", "--no-cache", "--tag"}  # of a backup: for once, too
    without |= {side_flag(each.flag, REPOSITORY) for each in CREDENTIALS if each.flag}  # of its location
    without |= {"--url", "--key"}  # of the dashboard: a place to look at for once, by hand or by a variable
    assert set(OPTIONS) - without == {key.flag for key in (*schema.OPTIONS.values(), *schema.KEYS)}


def test_secrets_are_those_of_the_stores() -> None:
    assert {each.name for each in CREDENTIALS if each.secret} == SECRET
    assert {key.name for key in schema.KEYS if key.secret and key.section not in schema.COMMANDS_OWN} == SECRET


def test_what_is_for_the_whole_command_is_no_key_of_a_job() -> None:
    own = {key.flag for key in schema.KEYS if key.section in schema.COMMANDS_OWN}
    assert {"--metrics-addr", "--notify-url", "--repo"} <= own
    assert not own & {key.flag for key in schema.OPTIONS.values()}
    assert {key.name for key in schema.KEYS if key.secret and key.flag in own} == {"webhook_url", "smtp_password"}
    assert schema.NOTIFY_EVENTS == EVENTS


def test_every_credential_has_a_form_for_each_side() -> None:
    for each in CREDENTIALS:
        for side in SIDES if each.flag else ():
            assert OPTIONS[side_flag(each.flag, side)].hidden
            assert OPTIONS[side_flag(each.flag, side)].is_flag == OPTIONS[each.flag].is_flag == each.switch


def test_choices_are_those_of_the_options() -> None:
    assert schema.ALGORITHMS == parameters.ALGORITHMS
    for key in schema.KEYS:
        kind = OPTIONS[key.flag].type
        if isinstance(kind, click.Choice):
            for word in kind.choices:
                assert key.kind(word) == word


WORDS = st.one_of(
    st.integers(-2, 2000).map(str),
    st.sampled_from(["", "5M", "x", "1.5", "0.5", "2m", "off", "none", "text", "json", "info", "08:00,5M", "4096"]),
)


@given(st.sampled_from(schema.KEYS), WORDS)
def test_what_the_file_accepts_the_option_accepts(key: schema.Key, word: str) -> None:
    """A value that passes the file must not fail later, without file and line."""
    number = word.lstrip("-").isdecimal() and key.kind not in (schema.text, schema.secret)
    written: Any = int(word) if number else word
    try:
        value = key.kind(written)
    except ValueError:
        return
    option = OPTIONS[key.flag]
    if key.flag == "--block-size" and word:
        return  # the least size is the option's own rule
    context = click.Context(sync_command)
    context.params.clear()
    option.type_cast_value(context, option._said(value))


@pytest.mark.parametrize("key", schema.KEYS, ids=lambda key: key.path)
def test_every_key_is_documented(key: schema.Key) -> None:
    text = PAGE.read_text(encoding="utf-8")
    _, heading, rest = text.partition(f"\n### {key.section}\n")
    assert heading, f"no chapter on {key.section}"
    rows = [line for line in rest.partition("\n### ")[0].splitlines() if line.startswith(f"| `{key.name}` ")]
    assert len(rows) == 1, key.path
    if key.flag.lstrip("-").replace("-", "_") != key.name:
        assert key.flag in rows[0]


def test_every_variable_of_the_services_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for each in CREDENTIALS:
        for name in each.standard:
            assert f"`{name}`" in text


def test_addresses_and_events() -> None:
    assert [schema.address(value) for value in (9100, ":9100", "")] == ["9100", ":9100", ""]
    assert schema.notify_events(["failure", "finish, stalled", "failure"]) == "failure,finish,stalled"
    assert schema.notify_events("") == ""
    for kind, value in ((schema.address, True), (schema.address, "x"), (schema.notify_events, "x")):
        with pytest.raises(ValueError, match=r"no address|is no text|none of"):
            kind(value)
