r"""Which names take part. Pure, except for `read_rules` and `read_files`, which read what the user points to.

Rules
    A rule is a sign and a pattern. For each name the rules are asked in order and THE FIRST MATCH WINS; a name
    that no rule matches takes part. A directory that is excluded is not entered: nothing below it is asked.

Patterns (what rsync's and git's have in common; where these two differ it is said)
    name     no slash inside: matches that name at any level
    /a/b     a leading slash: anchored at the root of the transfer
    a/b      a slash inside: matches the end of the path, at a component boundary: x/a/b, not xa/b
             (as rsync; git anchors)
    a/       a trailing slash: directories only
    *  ?     any characters but /; one character but /
    **       any characters, / included; `**/` and `/**/` also match no directory at all (as git); `/**` at the
             end matches everything inside, not the directory itself
    /***     at the end: the directory and everything inside (as rsync)
    [a-z]    one of these; [!a-z] or [^a-z] none of these; [[:digit:]] and its like; never /
    \*       a backslash takes the meaning from the next character

Stars and directories: the one helpful deviation
    ``--include '*.txt' --exclude '*'`` means "only text files" to everybody who writes it; taken literally it
    also excludes every directory, so that only those at the top are found. Therefore an exclude that consists of
    stars only (`*`, `**`, `/*`, `/**` and so on, but not `*/`, which says directories and means them) does not
    match a directory below which an *earlier* include could match. ``+ /src/***``, ``- *`` still takes `src` alone:
    nothing that is included can lie below `docs`.

How it is fast
    A pattern is cut at the last slash of the paths that it matches, into pairs (of directory, of name) of regular
    expressions: `a/**/b` is (`a/(.*/)?`, `b`). Which directory parts match is settled once per directory, and what
    is left are patterns for names, joined into one regular expression and kept for the next directory that
    has the same ones. `matcher(directory)` returns a function that makes one such match per name.

Names are `str` with ``surrogateescape``; an undecodable byte is one character to `?`, `*` and `[!a]`.
"""

from dunlin.filters.read import parse_rules, read_files, read_rules
from dunlin.filters.rules import Matcher, Rule
from dunlin.filters.selection import Decision, Selection

__all__ = ["Decision", "Matcher", "Rule", "Selection", "parse_rules", "read_files", "read_rules"]
