"""Schedules: what is started when, and a form for new ones."""

from __future__ import annotations

import msgspec

from dunlin.queue.ledger.words import Schedule
from dunlin.web.forms import NewScheduleForm
from dunlin.web.kinds import KEEPS
from dunlin.web.markup import Child, Safe, el, text
from dunlin.web.monitor.jobs import pretty
from dunlin.web.monitor.shell import Page, age, live, moment, perhaps, section
from dunlin.web.problems import Refused
from dunlin.web.services import EVERYBODY
from dunlin.web.tables import Cell, number, table

KINDS = ("sync", "check", "publish", *KEEPS)
EXAMPLE = '{"source": "/data/photos", "destination": "s3://bucket/photos"}'


class Form(msgspec.Struct):
    """What the form for a schedule sends: `options` as JSON, `every` in minutes or `cron`."""

    name: str
    kind: str = "sync"
    options: str = "{}"
    cron: str = ""
    every: str = ""
    zone: str = "UTC"
    tenant: str = ""


def schedules_page(page: Page, name: str = "", tenant: str = "") -> list[Child]:
    """The list and the form, which holds the schedule of that name, if there is one."""
    found = page.services.ledger.schedules.all(page.principal.only)
    shown: Child = _table(page, found) if found else el("p", "None.", class_="dim")
    chosen = next((each for each in found if each.new.name == name and tenant in ("", each.new.tenant)), None)
    return [live("schedules", el("section", shown)), _form(page, chosen) if page.acts else None]


def _table(page: Page, schedules: list[Schedule]) -> Safe:
    rows = []
    for each in schedules:
        new = each.new
        when = f"{new.cron} {new.zone}" if new.cron else f"every {age(new.interval)}"
        last = el("a", moment(each.last_run), href=page.url("job", id=each.last_job)) if each.last_job else None
        verb, words = ("disable", "Switch off") if new.enabled else ("enable", "Switch on")
        orders = [
            page.button("schedules", shown, sure=order == "remove", verb=order, name=new.name, tenant=new.tenant)
            for order, shown in (("run", "Run now"), (verb, words), ("remove", "Remove"))
        ]
        change = el("a", "Change", href=page.url("schedules", name=new.name, tenant=new.tenant) + "#form", class_="act")
        rows.append(
            [
                Cell([el("b", new.name), " ", el("span", new.label, class_="dim")], None, "loose"),
                Cell(new.kind.removesuffix("-items")), Cell(when), perhaps(last),
                Cell(moment(each.next_run) if new.enabled else el("span", "⚠ off", class_="tag t-fair")),
                number(each.passed_over), Cell([orders[:2], change if page.acts else None, orders[2]], None, "do"),
            ]
        )  # fmt: skip
    heads = ["Schedule", "Kind", "When", "Last (UTC)", "Next (UTC)", "Passed over", ""]
    return table(heads, rows, wide=(1, 5), stack=True)


def _form(page: Page, chosen: Schedule | None) -> Safe:
    new = chosen.new if chosen else None
    kind = new.kind.removesuffix("-items") if new else "sync"
    minutes = f"{new.interval / 60:g}" if new and new.interval else ""

    def field(words: str, name: str, hint: str = "", **more: str | bool) -> Safe:
        return el("label", words, el("input", name=name, **more), el("span", hint, class_="hint") if hint else None)

    kinds = el("select", *(el("option", each, value=each, selected=each == kind) for each in KINDS), name="kind")
    words = Safe(_typed(new.options) if new else text(EXAMPLE))
    options = el("textarea", words, name="options", rows=6, spellcheck="false", required=True)
    name = new.name if new else ""
    form = el(
        "form",
        el("input", type="hidden", name="_csrf", value=page.principal.csrf),
        field("Name", "name", required=True, pattern="[A-Za-z0-9_][A-Za-z0-9_.\\-]{0,99}", value=name),
        el("label", "Kind", kinds),
        field("Cron", "cron", "five fields: 30 2 * * *", value=new.cron if new else ""),
        field("or every … minutes", "every", inputmode="decimal", value=minutes),
        _tenants(page, new.tenant if new else ""),
        field("Time zone", "zone", "for cron", value=new.zone if new else "UTC"),
        el("label", "Options (JSON)", options, el("span", "as POST /api/v1/jobs takes them", class_="hint")),
        el("button", "Save"),
        method="post", action=page.url("schedules/new"), class_="new",
    )  # fmt: skip
    title = f"Change {new.name}" if new else "A new schedule"
    section_ = section(title, "One of the same name is replaced.", form)
    return el("div", section_, id="form")


def _typed(options: bytes) -> str:
    """Options as they stand in the form, line by line."""
    return "\n".join(text(line) for line in pretty(options).split("\n"))


def _tenants(page: Page, chosen: str) -> Child:
    """Whose it is, for who may choose."""
    if page.principal.tenant != EVERYBODY:
        return None
    words = [el("option", each, value=each, selected=each == chosen) for each in page.services.settings().tenants]
    return el("label", "Tenant", el("select", *words, name="tenant"))


_options = msgspec.json.Decoder(dict[str, object]).decode
_form_of = msgspec.json.Decoder(NewScheduleForm).decode


def asked(form: Form, before: Schedule | None) -> NewScheduleForm:
    """What the form means; what it does not ask for stays as it was. Raises `Refused`."""
    try:
        options = _options(form.options)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Refused(400, f"the options are no JSON object: {error}") from None
    try:
        interval = 60.0 * float(form.every) if form.every.strip() else 0.0
    except ValueError:
        raise Refused(400, f"{form.every!r} is no number of minutes") from None
    body = {"kind": form.kind, "options": options, "cron": form.cron.strip(), "interval": interval, "zone": form.zone}
    if before is not None:
        body |= {"enabled": before.new.enabled, "overlap": before.new.overlap, "priority": before.new.priority}
    try:
        return _form_of(msgspec.json.encode(body))
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter: a lone surrogate
        raise Refused(400, str(error)) from None
