-- The file of the embedded queue, schema 1. Times are seconds since 1970 by this machine's clock.
--   task.status   0 ready  1 leased  2 dead  3 over (its last news is not confirmed)  4 delayed
-- Names are stored as rules.py says.

CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0,
    put INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE           -- queue, host, groups: rules.lane
);
CREATE INDEX lane_queue ON lane (queue);

CREATE TABLE task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: a zombie's lease names it
    lane INTEGER NOT NULL,
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    status INTEGER NOT NULL,
    rank INTEGER NOT NULL,              -- lower ones come first: rules.py
    attempt INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0,    -- deliveries that count
    retries INTEGER NOT NULL,
    created REAL NOT NULL,
    due REAL NOT NULL,                  -- when it is ready, or its lease ends
    size INTEGER NOT NULL,
    worker TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    label TEXT NOT NULL,
    UNIQUE (queue, key)
);
CREATE INDEX task_order ON task (lane, status, rank, id);
CREATE INDEX task_leased ON task (due, lane) WHERE status = 1;
CREATE INDEX task_dead ON task (id) WHERE status = 2;
CREATE INDEX task_delayed ON task (due) WHERE status = 4;

-- apart from its task: an update writes the whole row anew
CREATE TABLE body (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);

CREATE TABLE news (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    task INTEGER NOT NULL,
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    error TEXT NOT NULL,
    worker TEXT NOT NULL
);
CREATE INDEX news_queue ON news (queue, number);

CREATE TABLE cap (name TEXT PRIMARY KEY, most INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE worker (
    name TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    slots INTEGER NOT NULL,
    busy INTEGER NOT NULL,
    queues TEXT NOT NULL,
    labels TEXT NOT NULL,
    version TEXT NOT NULL,
    born REAL NOT NULL,
    seen REAL NOT NULL,
    until REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE board (name TEXT PRIMARY KEY, value BLOB NOT NULL, until REAL) WITHOUT ROWID;
CREATE TABLE office (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE bucket (name TEXT PRIMARY KEY, owed REAL NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
