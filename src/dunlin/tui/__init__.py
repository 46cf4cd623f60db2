"""The dashboard of the terminal: how a run goes, drawn from the state file alone.

    reader    reads the state file, in a thread of its own, whatever becomes of the file meanwhile
    text      lines made of styled pieces, fitted into a number of cells
    panels    the parts of a page: what they say
    pages     the pages: which parts are where in a terminal of a given size
    export    the figures as a JSON or CSV file
    app       keys, clock and screen: the only module that imports Textual

All but `app` and `reader` is pure: a page is a function from what was read, and the size of the terminal, to lines.
So every size can be looked at in a test, and Textual does what it is best at: the terminal itself.
"""
