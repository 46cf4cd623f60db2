"""The node tree of a share: immutable columnar segments, and what can be asked of a list of them.

    columns.py   header, table of columns, types, flags        names.py     operations on many names at once
    lookup.py    hash tables that are made by sorting          heaps.py     the names of a segment
    segment.py   one segment, mapped                           spill.py     columns while they grow
    build.py     rows in, a segment out                        overlay.py   what deltas say over a base
    view.py      Tree: paths, directories, runs, renames       walk.py      many directories at once
    totals.py    du, histograms                                find.py      names by pattern
    diff.py      what changed between two views                compact.py   base and deltas to one segment

What it costs and how the layout came about: about 48 bytes for a node of a tree like /usr, 34 with names in zstd
frames, fingerprints and page references aside. Files have no parent and directories no list of children; both follow
from the order of rows. Nothing is unpacked to be looked at, so a view of any size opens at once and its memory is the
page cache's. docs/format.md describes the format byte by byte.
"""
