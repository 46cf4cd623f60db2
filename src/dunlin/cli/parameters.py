"""The options of `sync` and `check`, by the sections of their help.

Nothing heavy is imported here: the names of algorithms and comparisons are written out (a test compares them
with `hashing` and `plan`), and the parsers of `pace` are imported by the first value that needs one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from dunlin.cli.base import Option, log_level_option, parsed
from dunlin.config.credentials import CREDENTIALS, SIDES, side_flag

COMPARE = ("size+mtime", "size", "mtime", "checksum")
ALGORITHMS = ("blake3", "sha256", "blake2b", "sha1", "md5", "xxh3", "crc64", "none")

WHAT = "What is copied"
WHAT_IS_SAVED = "What is saved"
SAME = "What counts as in sync"
NAMES = "Which names take part (of --include, --exclude and the like the first match wins)"
MIRROR = "Mirror"
SPEED = "Speed"
WHOLE = "Integrity"
STATE = "State and resuming"
WATCH = "Watching"
QUEUE = "Many machines"
OUTPUT = "Output"
OUTWARD = "Metrics and messages (secrets may be @FILE; nothing of it in a dry run)"
CONTAINERS = "Azure containers, in place of SOURCE and DESTINATION"
SERVICES = {"azure": "Azure", "s3": "S3", "gcs": "Google Cloud Storage"}
CONFIGURATION = "Configuration"

FILTERS = ("include", "exclude", "include_from", "exclude_from", "filter_from")


def _size(text: str) -> Any:
    from dunlin.pace.sizes import parse_size

    return parse_size(text)


def _duration(text: str) -> Any:
    from dunlin.pace.sizes import parse_duration

    return parse_duration(text)


def _schedule(text: str) -> Any:
    from dunlin.pace.schedule import parse_schedule

    return parse_schedule(text)


def _block(text: str) -> Any:
    size = _size(text)
    if size < LEAST_BLOCK:
        raise click.BadParameter(f"{text!r} is less than {LEAST_BLOCK} bytes")
    return size


def _interval(text: str) -> Any:
    seconds = _duration(text)
    if seconds < 1:
        raise click.BadParameter(f"{text!r} is less than a second")
    return seconds


def _patience(text: str) -> Any:
    from dunlin.config import schema

    try:
        return _duration(schema.patience(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _address(text: str) -> Any:
    from dunlin.report.address import parse_address

    return parse_address(text)


def _events(text: str) -> str:
    from dunlin.config import schema

    try:
        return schema.notify_events(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def share(text: str) -> float:
    """The type of a number above 0 and up to 1."""
    from dunlin.config import schema

    try:
        return schema.share(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _percent(most: int) -> Any:
    def convert(text: str) -> Any:
        from dunlin.config import schema

        try:
            return schema.percent(most)(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return parsed(convert)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of a whole number within limits."""

    def convert(text: str) -> int:
        if not text.strip().lstrip("-").isdecimal() or int(text) < least or (most is not None and int(text) > most):
            limits = f"of at least {least}" if most is None else f"from {least} to {most:,}"
            raise click.BadParameter(f"{text!r} is no whole number {limits}")
        return int(text)

    return convert


LEAST_BLOCK = 4096
SIZE, BLOCK, SECONDS, RATE = parsed(_size), parsed(_block), parsed(_duration), parsed(_schedule)
INTERVAL = parsed(_interval)


def _switch(shown: str, help: str, section: str, *aliases: str, **attributes: Any) -> Option:
    return Option(shown, help, section=section, aliases=aliases, is_flag=True, **attributes)


def metadata_options() -> list[Option]:
    """What takes part beside regular files, and which metadata is kept."""
    return [
        _switch("-a --archive", "As rsync's -a: -l -p -o -g -D. Times are kept in any case.", WHAT),
        _switch("-l --links", "Copy symbolic links as links. Without it they are skipped and counted.", WHAT),
        _switch("-p --perms", "Keep permissions.", WHAT, "--permissions"),
        _switch("-o --owner", "Keep owners, where this user may set them.", WHAT),
        _switch("-g --group", "Keep groups, where this user may set them.", WHAT),
        _switch("-D", "As --devices --specials.", WHAT, into="devices_specials"),
        _switch("--devices", "Copy device files.", WHAT),
        _switch("--specials", "Copy sockets and FIFOs.", WHAT),
        _switch("-H --hard-links", "Names of one file stay names of one file, which `check` compares, too.", WHAT),
        _switch("-X --xattrs", "Keep extended attributes.", WHAT),
        _switch("-A --acls", "Keep access control lists; implies -p.", WHAT),
        _switch(
            "--share-snapshot",
            "Read SOURCE, a share of Azure Files, from a share snapshot that is made for the run and deleted after it.",
            WHAT,
        ),
    ]


def sync_metadata_options() -> list[Option]:
    """The same for what is written."""
    return [
        *metadata_options(),
        _switch("-S --sparse", "Leave holes where a file holds only zeros.", WHAT),
        _switch("--numeric-ids", "Accepted: owners and groups are always kept as numbers.", WHAT),
        _switch("-t --times", "Accepted: times are always kept, to the nanosecond.", WHAT),
        _switch("-r --recursive", "Accepted: directories are always entered.", WHAT),
    ]


def compare_options() -> list[Option]:
    """How two files of one name are compared."""
    return [
        Option(
            "--compare",
            "How files of one name are compared: size+mtime (default), size, mtime, or checksum, which reads both.",
            section=SAME, type=click.Choice(COMPARE), metavar="HOW",
        ),
        _switch("-c", "As --compare checksum.", SAME, into="compare_checksum"),
        _switch("--size-only", "As --compare size.", SAME),
        Option(
            "--modify-window", "Times that differ by no more than this are equal. Default: 0.", section=SAME,
            aliases=["-@"], type=SECONDS, metavar="SECONDS",
        ),
    ]  # fmt: skip


def sync_compare_options() -> list[Option]:
    """The same, and what a comparison decides about writing."""
    return [
        *compare_options(),
        _switch("-u --update", "Leave files alone that are newer at the destination.", SAME),
        _switch("--skip-existing", "Leave every file alone that the destination has.", SAME, "--ignore-existing"),
        _switch(
            "--trust-state",
            "Compare the source with the state, without listing the destination where the state is complete. "
            "What was changed or deleted there meanwhile is not noticed.",
            SAME,
        ),
        _switch(
            "--ctime-skip",
            "Do not list the destination of a directory in which nothing has changed since before the last successful "
            "run began, by change times and by the state. Not with --delete-extras.",
            SAME,
        ),
        Option(
            "--ctime-margin", "How much older than that run a change must be for --ctime-skip. Default: 1m.",
            section=SAME, type=SECONDS, metavar="TIME",
        ),
        _switch("--force-resync", "Transfer everything again.", SAME),
    ]


def filter_options() -> list[Option]:
    """Which names take part."""

    def patterns(shown: str, help: str, metavar: str) -> Option:
        return Option(shown, help, section=NAMES, multiple=True, metavar=metavar)

    def each(shown: str, help: str, **attributes: Any) -> Option:
        return Option(shown, help, section=NAMES, **attributes)

    return [
        patterns("--include", "Names that take part.", "PATTERN"),
        patterns("--exclude", "Names that do not; an excluded directory is not entered.", "PATTERN"),
        patterns("--include-from", "Read --include patterns from FILE, one per line.", "FILE"),
        patterns("--exclude-from", "Read --exclude patterns from FILE, one per line.", "FILE"),
        patterns("--filter-from", "Read lines '+ PATTERN', '- PATTERN', '!' (forget all so far) from FILE.", "FILE"),
        each("--files-from", "Take only the paths listed in FILE (- for standard input), one per line or "
             "NUL-separated.", metavar="FILE"),
        each("--ignore-case", "Patterns do not tell upper from lower case.", is_flag=True),
        each("--min-size", "Take no smaller files: 10K, 1.5M.", type=SIZE, metavar="SIZE"),
        each("--max-size", "Take no larger files.", type=SIZE, metavar="SIZE"),
        each("--min-age", "Take only files older than this: 90s, 2h, 7d; or last modified before a date: 2026-01-31.",
             metavar="AGE"),
        each("--max-age", "Take only files younger than this, or last modified since a date.", metavar="AGE"),
        each("--max-depth", "Take nothing deeper; names in SOURCE have depth 1.", type=whole(1), metavar="N"),
    ]  # fmt: skip


def mirror_options() -> list[Option]:
    """What becomes of names that only the destination has."""
    return [
        _switch(
            "--delete-extras",
            "Delete what only the destination has, after all transfers, if the whole source could be read.",
            MIRROR, "--delete", "--delete-after", "--del",
        ),
        Option(
            "--max-delete", "Delete nothing if there is more to delete. Default: a quarter of the known files, "
            "at least 100.", section=MIRROR, type=whole(0), metavar="N",
        ),
        Option(
            "--backup-dir", "Move what is overwritten or deleted here; relative to DESTINATION.", section=MIRROR,
            metavar="DIR",
        ),
        _switch("--delete-excluded", "Also delete what the filters exclude.", MIRROR),
        _switch("--accept-source", "Delete although SOURCE lies on another file system than at the last run.", MIRROR),
    ]  # fmt: skip


def bandwidth_option() -> Option:
    """``--bwlimit``."""
    return Option(
        "--bwlimit",
        "Bytes per second: 20M, off, or a timetable: '08:00,5M 19:00,off'. `dunlin control bwlimit` changes it.",
        section=SPEED, aliases=["--bandwidth-limit"], off="off", type=RATE, metavar="RATE",
    )  # fmt: skip


def patience_options() -> list[Option]:
    """How long an object store is waited for."""

    def seconds(shown: str, help: str) -> Option:
        return Option(shown, help, section=SPEED, off="0", type=_patience, metavar="SECONDS")

    return [
        seconds("--timeout", "How long an object store may be silent in a request; 0: for ever. Default: 30."),
        seconds(
            "--request-timeout",
            "How long it may take altogether for a request of up to 100 MB, in proportion for larger ones; 0: for "
            "ever. Default: 300.",
        ),
    ]


def crew_options() -> list[Option]:
    """Who does the work."""

    def number(shown: str, help: str, most: int) -> Option:
        return Option(
            shown, help, section=SPEED, automatic=True, off="", type=whole(1, most), metavar="N"
        )  # fmt: skip

    return [
        number("--workers", "Files in flight in the whole run. Default: automatic.", 1024),
        number("--movers", "Processes that move files; for experts. Default: automatic.", 256),
        number("--threads", "The most threads per mover; for experts. Default: automatic.", 256),
    ]


def crawl_options() -> list[Option]:
    """How the tree is listed; what only experts move is in the reference and the documentation, not in the help."""

    def number(shown: str, help: str, most: int) -> Option:
        return Option(shown, help, section=SPEED, automatic=True, type=whole(1, most), metavar="N")

    def expert(shown: str, help: str, kind: Any, metavar: str) -> Option:
        return Option(shown, help, section=SPEED, hidden=True, type=kind, metavar=metavar)

    return [
        number("--crawl-parallelism", "The most directories listed at a time. Default: automatic.", 10_000),
        number("--max-active-files", "The most names that listings hold in memory. Default: automatic.", 1 << 40),
        expert("--throttle-engage-threshold", "Percent of the limits on names and threads from which on directories "
               "wait. Default: 100.", _percent(100), "PERCENT"),
        expert("--throttle-release-threshold", "Percent below which they go on. Default: 85.", _percent(99), "PERCENT"),
        expert("--consistency-threshold", "Samples of one kind before limits are moved. Default: 10.",
               whole(1, 10_000), "N"),
        expert("--adjustment-cooldown", "Time between two moves of the limits. Default: 2m.", SECONDS, "TIME"),
    ]  # fmt: skip


def limit_options() -> list[Option]:
    """What the run may take of the machine and of a listing."""

    def number(shown: str, help: str, least: int, most: int) -> Option:
        return Option(shown, help, section=SPEED, automatic=True, type=whole(least, most), metavar="N")

    return [
        number("--batch-size", "The most names asked of an object store in one request. Default: automatic.", 1, 5000),
        number("--max-memory-mb", "The most memory of all processes together, MiB. Default: automatic.", 64, 1 << 24),
        number("--max-cpu-percent", "The most of all processors together. Default: automatic.", 1, 100),
        _switch("--auto-throttle", "Slow down while the machine is busy. Default: by the machine's size.", SPEED),
        Option("--throttle-threshold", "The load above which --auto-throttle begins, 0 to 1. Default: 0.8.",
               section=SPEED, type=share, metavar="SHARE"),
        Option("--link-speed", "Bytes per second that the network carries: 12.5MB. Default: as its interfaces say.",
               section=SPEED, type=SIZE, metavar="RATE"),
    ]  # fmt: skip


def speed_options() -> list[Option]:
    """How fast, with how many hands and how much memory."""
    return [
        bandwidth_option(),
        *crew_options(),
        *crawl_options(),
        *limit_options(),
        *patience_options(),
        _switch("--scan-first", "List everything before anything is moved.", SPEED),
        Option("--block-size", "The most bytes read at once; less where that is faster. Default: 5M.",
               section=SPEED, type=BLOCK, metavar="SIZE"),
        Option("--queue-capacity",
               "The most blocks between reading and writing a file, within --disk-buffer-mb. Default: 20.",
               section=SPEED, type=whole(1, 10_000), metavar="N"),
        Option("--disk-buffer-mb", "Memory for all blocks in flight, MiB. Default: 64.", section=SPEED,
               automatic=True, type=whole(1, 1 << 20), metavar="N"),
        Option("--mover-start", "How mover processes are made. Default: automatic.", section=SPEED,
               type=click.Choice(["fork", "spawn"]), hidden=True),
    ]  # fmt: skip


def checksum_option(help: str) -> Option:
    """``--checksum``."""
    return Option(
        "--checksum", help, section=WHOLE, off="none", type=click.Choice(ALGORITHMS), metavar="ALGORITHM"
    )  # fmt: skip


def integrity_options() -> list[Option]:
    """What is done so that a file is whole."""
    return [
        checksum_option(
            "The hash computed on the way and kept in state and log: blake3 (default), sha256, blake2b, sha1, md5, "
            "xxh3, crc64 or none."
        ),
        _switch("--verify-checksums", "Compare what was moved with the checksum that the store states. Default: yes.",
                WHOLE),
        _switch("--in-place", "Write into the existing file, without a temporary one: an interrupted run leaves it "
                "damaged.", WHOLE, "--inplace"),
        Option("--fsync", "none, checkpoint (default: the destination is flushed in the background), or file.",
               section=WHOLE, off="none", type=click.Choice(["none", "checkpoint", "file"]), metavar="WHEN"),
        Option("--attempts", "How often a file is tried that changes while it is read. Default: 3.", section=WHOLE,
               type=whole(1, 100), metavar="N"),
    ]  # fmt: skip


def state_options() -> list[Option]:
    """Where the state is kept, and what of it is used."""
    return [
        Option(
            "--state-db",
            "The state file, or none. Default: .sync-state.db in the current directory, else in the user's state "
            "directory.",
            section=STATE, aliases=["--database"], off="none", metavar="FILE",
        ),
        _switch("--rescan", "List everything again instead of continuing an interrupted run.", STATE),
        Option(
            "--lock-wait", "How long to wait for another run on the same destination. Default: 10s.", section=STATE,
            type=SECONDS, metavar="TIME",
        ),
    ]  # fmt: skip


def queue_option() -> Option:
    """``--queue``."""
    return Option(
        "--queue", "A file, redis:// or postgresql:// URL (or @FILE) through which workers on any machine take part.",
        section=QUEUE, off="", metavar="URL",
    )  # fmt: skip


def label_option() -> Option:
    """``--host-label``."""
    return Option(
        "--host-label", "What this machine is called: local paths are worked on by workers of the same label. Default: "
        "its name.", section=QUEUE, metavar="NAME",
    )  # fmt: skip


def _priority(text: str) -> int:
    from dunlin.config.schema import priority
    from dunlin.errors import usage

    try:
        return priority(text)
    except ValueError as error:
        raise usage(str(error)) from None


def queue_options(*, ranges: bool = True) -> list[Option]:
    """A run that spreads over workers; `ranges`: one that has huge files to cut."""
    shared = [
        queue_option(),
        _switch("--work", "With --queue: work here, too, beside the workers elsewhere. Default: yes.", QUEUE),
        label_option(),
        Option("--priority", "With --queue: low (-10), normal, high (10), or a number from -100 to 100. A step is "
               "worth a minute of waiting. Default: normal.", section=QUEUE, type=parsed(_priority),
               metavar="PRIORITY"),
        Option("--shared-root", "A directory that workers on other machines have mounted at the same place. May be "
               "repeated.", section=QUEUE, multiple=True, metavar="DIR"),
    ]  # fmt: skip
    split = Option("--split-above", "With --queue: larger files are copied in ranges, by several workers. Default: "
                   "256M.", section=QUEUE, off="0", type=SIZE, metavar="SIZE")  # fmt: skip
    return [*shared, split] if ranges else shared


def watch_options() -> list[Option]:
    """Repeating the run."""
    return [
        _switch("--watch", "Go on looking for what is new until stopped.", WATCH),
        Option("--watch-interval", "How long to wait between two looks: 90s, 2m. Default: 5m.", section=WATCH,
               type=INTERVAL, metavar="TIME"),
    ]  # fmt: skip


def metrics_options() -> list[Option]:
    """For every command that may take long."""
    return [
        Option("--metrics-addr", "Serve Prometheus metrics at HOST:PORT/metrics while the command works; PORT alone is "
               "for this machine only.", section=OUTWARD, off=None, type=parsed(_address), metavar="HOST:PORT"),
    ]  # fmt: skip


def notify_options() -> list[Option]:
    """Messages to people."""

    def each(shown: str, help: str, metavar: str, **attributes: Any) -> Option:
        return Option(shown, help, section=OUTWARD, metavar=metavar, **attributes)

    return [
        each("--notify-url", "Post messages to this webhook; the whole address is a secret.", "URL"),
        each("--notify-format", "slack (default), which many chats take, or json, with all fields.", "FORMAT",
             type=click.Choice(["slack", "json"])),
        each("--notify-email", "Send messages to this address; several with commas or several times.", "ADDRESS",
             multiple=True),
        each("--notify-from", "The sender of e-mails. Default: the user at the mail server, or dunlin at this machine.",
             "ADDRESS"),
        each("--smtp-url", "The mail server: smtp://HOST:PORT (with STARTTLS where it is offered) or "
             "smtps://USER@HOST:PORT.", "URL"),
        each("--smtp-password", "The password of the mail server's user.", "PASSWORD"),
        each("--notify-on", "What is worth a message: failure, finish, stalled, recovery, with commas. Default: "
             "failure,stalled,recovery.", "EVENTS", type=_events),
        each("--stalled-after", "Without any progress for so long a run counts as stalled. Default: 10m.", "TIME",
             type=INTERVAL),
        each("--notify-interval", "At most one message of a kind about a pair in this time; the rest is counted. "
             "Default: 5m.", "TIME", type=SECONDS),
    ]  # fmt: skip


def container_options() -> list[Option]:
    """The short way to name a pair of containers and a directory."""
    return [
        Option("--container", "Sync this container of Azure Blob; may be given several times.", section=CONTAINERS,
               multiple=True, metavar="NAME"),
        Option("--output-path", "Where its blobs go, under their whole names; with several containers, each below "
               "its own name. Default: ./data.", section=CONTAINERS, metavar="DIR"),
        Option("--prefix", "Only blobs whose names begin with this; a plain string.", section=CONTAINERS,
               metavar="TEXT"),
    ]  # fmt: skip


_CREDENTIAL_HELP = {
    "--connection-string": ("The storage account's connection string.", "TEXT"),
    "--account-name": ("The storage account; without a key or the like, the default chain of logins is tried.", "NAME"),
    "--account-key": ("A key of the account.", "KEY"),
    "--sas-token": ("A shared access signature.", "TOKEN"),
    "--use-managed-identity": ("Log in as the identity of this machine; --client-id picks one of several.", ""),
    "--tenant-id": ("The tenant of a service principal.", "ID"),
    "--client-id": ("The application of a service principal.", "ID"),
    "--client-secret": ("The secret of a service principal.", "SECRET"),
    "--use-workload-identity": ("Log in by the token that Kubernetes gives this pod.", ""),
    "--use-azure-cli": ("Log in as whoever used `az login`.", ""),
    "--azure-endpoint": ("The blob or file service's URL, for other clouds and emulators.", "URL"),
    "--s3-endpoint": ("The URL of a server that speaks S3. Default: AWS.", "URL"),
    "--s3-region": ("The region.", "NAME"),
    "--s3-profile": ("A profile of the AWS configuration files.", "NAME"),
    "--s3-access-key-id": ("The id of an access key.", "ID"),
    "--s3-secret-access-key": ("Its secret.", "SECRET"),
    "--s3-session-token": ("Its session token, where it is a temporary one.", "TOKEN"),
    "--s3-role-arn": ("The role to assume after logging in.", "ARN"),
    "--s3-anonymous": ("Do not log in: a public bucket.", ""),
    "--gcs-service-account": ("The JSON file with a service account's key.", "FILE"),
    "--gcs-endpoint": ("The service's URL, for emulators.", "URL"),
    "--gcs-project": ("The project that is billed.", "ID"),
    "--gcs-anonymous": ("Do not log in: a public bucket.", ""),
}


def credential_options(sides: Sequence[str] = SIDES) -> list[Option]:
    """Everything that lets us into a store: for all sides, and hidden from the help for each of them."""
    made = []
    forms = f"each also as {' and '.join(f'--{side}-...' for side in sides)}; a secret may be @FILE"
    for each in CREDENTIALS:
        if not each.flag:
            continue
        help, metavar = _CREDENTIAL_HELP[each.flag]
        for flag in (each.flag, *(side_flag(each.flag, side) for side in sides)):
            kind: dict[str, Any] = {"is_flag": True} if each.switch else {"metavar": metavar}
            section = f"Login to {SERVICES[each.store]} ({forms})"
            made.append(Option(flag, help, section=section, hidden=flag != each.flag, **kind))
    return made


def telling_options() -> list[Option]:
    """What is told by a command that works for long."""
    wanted = ("quiet", "progress", "as_json", "log_level", "log_format")
    return [each for each in output_options() if each.name in wanted]


def output_options() -> list[Option]:
    """What is told, and where."""
    return [
        Option("-v --verbose", "Name what is copied, made, linked, given metadata, deleted or skipped.",
               section=OUTPUT, is_flag=True),
        Option("-q --quiet", "Tell warnings and errors only.", section=OUTPUT, is_flag=True, aliases=["--silent"]),
        _switch("-P --progress", "Show a live view. Default: in a terminal; elsewhere a line every 30 seconds.",
                OUTPUT),
        _switch("--json", "Print one JSON object at the end; all else goes to standard error.", OUTPUT,
                into="as_json"),
        Option("--report-file", "List differences and outcomes per file in FILE.", section=OUTPUT, metavar="FILE"),
        log_level_option(OUTPUT),
        Option("--log-format", "text (default), json or logfmt, on standard error.", section=OUTPUT,
               type=click.Choice(["text", "json", "logfmt"]), metavar="FORMAT"),
        Option("--profile", "Write a profile of the run to FILE, for `python -m pstats FILE`; -v names the functions "
               "that took the longest. For experts: it makes the run slower.", section=OUTPUT, metavar="FILE"),
        Option("-h", "Accepted: numbers are always readable.", section=OUTPUT, is_flag=True, plain=True, hidden=True,
               into="human_readable", aliases=["--human-readable"]),
    ]  # fmt: skip


def audit_options() -> list[Option]:
    """The audit log."""
    return [
        Option("--log-file", "The audit log: one line per name that was not in sync, with outcome, hash, size and "
               "time. Appended to.", section=OUTPUT, aliases=["--audit-log"], metavar="FILE"),
        Option("--log-file-format", "text (default) or json.", section=OUTPUT,
               type=click.Choice(["text", "json"]), metavar="FORMAT"),
        Option("--log-file-size", "Rotate the audit log above this size; 0: never. Default: 100M.", section=OUTPUT,
               type=SIZE, metavar="SIZE"),
        Option("--log-file-keep", "Rotated audit logs that are kept. Default: 5.", section=OUTPUT,
               type=whole(0, 1000), metavar="N"),
    ]  # fmt: skip


def places() -> list[click.Parameter]:
    """SOURCE and DESTINATION; that both are there is checked by `options.pair`, whose words are clearer."""
    return [click.Argument(["places"], metavar="SOURCE DESTINATION", nargs=-1)]
