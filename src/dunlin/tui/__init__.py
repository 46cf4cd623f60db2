"""The dashboard of the terminal: how a run goes, drawn from the state file alone; or what a service does.

    reader    reads the state file, in a thread of its own, whatever becomes of the file meanwhile
    styles    what a line is made of: pieces with a style, and what the styles look like
    text      lines, fitted into a number of cells
    panels    the parts of a page: what they say
    frame     what all pages have in common: head and last line, the chosen one of a list, the page of keys
    pages     the pages: which parts are where in a terminal of a given size
    export    the figures as a JSON or CSV file
    base      what both dashboards do: clock, looks, notes, the line that takes what is typed, mouse, screen
    app       keys, orders and exports
    remote, service_pages, service    the same three for a service: what asks it, pages, keys and orders

Only `base`, `app` and `service` import Textual, and all but these and what reads is pure: a page is a function from
what was read, and the size of the terminal, to lines. So every size can be looked at in a test, and Textual does what
it is best at: the terminal itself.
"""
