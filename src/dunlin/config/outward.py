"""Metrics and messages: from values of the command line and what stands below it to the options of `jobs.outward`.

The webhook's address and the password of the mail server are secrets, given like those of the stores: in a variable, in
the file, or as ``@FILE``, which is relative to the configuration file that says so.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from typing import Any

from dunlin.config.logins import Said, secret_of
from dunlin.config.settings import FILE, Found, Settings
from dunlin.errors import usage
from dunlin.jobs.outward import Options
from dunlin.pace.sizes import parse_duration
from dunlin.report.mail import mail_of
from dunlin.report.notify import DEFAULT_EVENTS, INTERVAL, STALLED_AFTER
from dunlin.report.webhook import webhook_of


def outward(
    values: Mapping[str, Any], written: Collection[str], origins: Mapping[str, Found], settings: Settings
) -> Options | None:
    """What is asked for; None where nothing is.

    Args:
        values: of the command, by parameter.
        written: the parameters that the command line itself gives.
        origins: where values come from that it does not give, by long option.
        settings: the layers below the command line.

    Raises USAGE and CONFIG.
    """
    url = _secret("notify_url", values, origins, settings)
    to = tuple(part.strip() for each in values.get("notify_email") or () for part in each.split(",") if part.strip())
    mail = None
    if to:
        if not values.get("smtp_url"):
            raise usage("--notify-email needs to know the mail server", "name it with --smtp-url smtp://HOST:PORT")
        password = _secret("smtp_password", values, origins, settings)
        mail = mail_of(to, values["smtp_url"], password, values.get("notify_from") or "", socket.gethostname())
    if not (url or mail):
        for name in sorted(set(written) - {"metrics_addr", "notify_url", "notify_email"}):
            raise usage(f"--{name.replace('_', '-')} sends nothing by itself", "give --notify-url or --notify-email")
    address = values.get("metrics_addr")
    if not (url or mail or address):
        return None
    return Options(
        address=address,
        webhook=webhook_of(url, values.get("notify_format") or "slack") if url else None,
        mail=mail,
        events=frozenset((values.get("notify_on") or ",".join(DEFAULT_EVENTS)).split(",")),
        stalled_after=values.get("stalled_after") or STALLED_AFTER,
        interval=INTERVAL if values.get("notify_interval") is None else values["notify_interval"],
    )


def messages(settings: Settings) -> Options | None:
    """The messages that a service sends about its jobs; None: none. Raises USAGE and CONFIG."""
    origins = {flag: found for flag in _MESSAGES if (found := settings.find(flag)) is not None}
    values: dict[str, Any] = {flag.lstrip("-").replace("-", "_"): each.value for flag, each in origins.items()}
    if isinstance(values.get("notify_email"), str):
        values["notify_email"] = values["notify_email"].splitlines()
    if values.get("notify_interval"):
        values["notify_interval"] = parse_duration(str(values["notify_interval"]))
    else:
        values.pop("notify_interval", None)
    return outward(values, (), origins, settings)


_MESSAGES = (
    *("--notify-url", "--notify-format", "--notify-email", "--notify-from", "--smtp-url", "--smtp-password"),
    *("--notify-on", "--notify-interval"),
)


def _secret(name: str, values: Mapping[str, Any], origins: Mapping[str, Found], settings: Settings) -> str:
    value = values.get(name) or ""
    flag = f"--{name.replace('_', '-')}"
    found = origins.get(flag)
    base = ""
    if found is not None and found.layer == FILE and settings.file is not None:
        base = os.path.dirname(os.path.abspath(settings.file.path))
    return secret_of(Said(value, found.origin if found is not None else flag, base)).strip()
