"""Backups in the service: what repositories hold, as REST and as pages of the monitor.

Theory. A page and its counterpart in the API ask the same question, so each question is one function in `looks`, over a
`web.vaults.Vault`: it gets plain values and gives plain values, and `forms` and the pages only say them in two
languages. Nothing here writes to a repository; what changes something becomes a job, as it does through the API.

Names are anything, bytes that are no text among them. In addresses they are those bytes, escaped with per cents, and
are read from the address itself (`words.exact`), since frameworks put question marks where they cannot decode. In JSON
a name that it cannot hold is shown escaped, with the true one beside it as an address would have it.

Whoever may look (viewer) sees names, sizes, times, what changed, and what a policy would keep. What files *hold* is
for operators: to download a file, or to restore it. A backup reaches as far as its source did, and whoever may only
look at a service was never given the content of what it copies. To forget and prune is for administrators: it is the
one thing that cannot be taken back.

    words      names in addresses and JSON, points in time          looks      the questions
    changes    what differs between two         versions        what stood at a path in each snapshot
    forms      shapes of the API         api     its routes          file       the content of a file, in parts
    shares     pages of all shares and of one       browse     of what a snapshot holds     compare    of two of them
    orders     what forms ask for: jobs             routes     routes of the pages
"""
