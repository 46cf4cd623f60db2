-- dunlin's state, schema 3: what is remembered of every pair. People may query the views; see docs/state.md.
--
-- Times are ns since 1970 (INTEGER), sizes bytes. Names and paths are TEXT when they are valid UTF-8, else a BLOB
-- of their raw bytes: a BLOB sorts after every TEXT. Codes, chosen small because there is a row per file:
--   file.status       0 pending  1 synced   2 failed  3 skipped
--   directory.status  0 queued   1 scanned  2 done    3 failed
--   directory.target  0 unknown  1 the destination had it  2 it was absent there  3 only the destination has it

-- the last time handed out: a clock that is set back never reorders what happened
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL);
INSERT INTO clock VALUES (1, 0);

CREATE TABLE pair (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,               -- canonical URL, no query, no credentials
    destination TEXT NOT NULL,
    selection TEXT NOT NULL,            -- hash of the options that select and name
    durable_before INTEGER NOT NULL DEFAULT 0,  -- what was written before is on stable storage
    boot_id TEXT NOT NULL DEFAULT '',   -- of the machine's boot in which the last run began
    root TEXT,                          -- identity of the source's file system
    known_files INTEGER NOT NULL DEFAULT 0,  -- files in the source when a run last completed
    UNIQUE (source, destination)
);

CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: temp names carry it
    pair INTEGER NOT NULL REFERENCES pair (id),
    started INTEGER NOT NULL,
    ended INTEGER,
    updated INTEGER NOT NULL,           -- the last sign of life
    boot_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'interrupted')),
    message TEXT NOT NULL DEFAULT '',
    stats TEXT NOT NULL DEFAULT '{}',   -- JSON of model.Stats
    options TEXT NOT NULL DEFAULT '{}', -- JSON, without secrets
    continued_from INTEGER REFERENCES run (id),
    origin INTEGER NOT NULL,            -- the first run of the chain of continued runs
    life TEXT NOT NULL DEFAULT '{}'     -- JSON of runs.Life: the last sign of life
);
CREATE INDEX run_pair ON run (pair, id);
CREATE INDEX run_live ON run (id) WHERE status = 'running';

-- the crawl frontier, the checkpoint and the path of every directory, in one
CREATE TABLE directory (
    id INTEGER PRIMARY KEY,
    pair INTEGER NOT NULL,
    path NOT NULL,                      -- below the root, '' for the root itself
    run INTEGER NOT NULL,               -- the run that last set status
    status INTEGER NOT NULL DEFAULT 0,
    target INTEGER NOT NULL DEFAULT 0,
    ctime INTEGER,
    digest BLOB,                        -- of the source's listing when every row is complete and synced
    written INTEGER NOT NULL DEFAULT 0, -- when a file in it was last written
    doubt INTEGER,                      -- rows synced since then may not have survived a reboot
    UNIQUE (pair, path)
);
CREATE INDEX directory_queued ON directory (run) WHERE status = 0;
CREATE INDEX directory_scanned ON directory (run) WHERE status = 1;
CREATE INDEX directory_failed ON directory (run) WHERE status = 3;
CREATE INDEX directory_written ON directory (pair, written);
CREATE INDEX directory_doubt ON directory (pair) WHERE doubt IS NOT NULL;

CREATE TABLE file (
    directory_id INTEGER NOT NULL,
    name NOT NULL,
    size INTEGER,
    mtime INTEGER,
    ctime INTEGER,
    birth INTEGER,
    mode INTEGER,                       -- st_mode, type bits included
    uid INTEGER,
    gid INTEGER,
    etag,
    content_md5,
    hash_algorithm TEXT,
    hash BLOB,
    status INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_synced INTEGER,
    run INTEGER NOT NULL,               -- the run that last set this row
    error TEXT,
    error_kind TEXT,                    -- errors.ErrorKind
    PRIMARY KEY (directory_id, name)
) WITHOUT ROWID;
CREATE INDEX file_pending ON file (directory_id, name, size) WHERE status = 0;
CREATE INDEX file_failed ON file (run, directory_id, name) WHERE status = 2;

-- names of inodes with several; `waits` is 0 for those whose content reached the destination, so they come first
CREATE TABLE link (
    pair INTEGER NOT NULL,
    dev INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    waits INTEGER NOT NULL,
    path NOT NULL,
    PRIMARY KEY (pair, dev, ino, waits, path)
) WITHOUT ROWID;

-- found at the destination only: deleted after the transfers, if at all; falling paths, so children come first
CREATE TABLE extra (
    pair INTEGER NOT NULL,
    path NOT NULL,
    is_directory INTEGER NOT NULL,
    top INTEGER NOT NULL,               -- 0 in a directory that the source lacks  1 the topmost of such a subtree
                                        -- 2 a directory where the source has something else, which comes after it
    PRIMARY KEY (pair, path)
) WITHOUT ROWID;

-- where a flat listing may be taken up again
CREATE TABLE checkpoint (
    pair INTEGER NOT NULL,
    prefix NOT NULL,
    token TEXT,
    time INTEGER NOT NULL,
    total INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (pair, prefix)
) WITHOUT ROWID;

CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    time INTEGER NOT NULL,
    cpu REAL,                           -- percent of the machine, the whole process tree
    memory INTEGER,                     -- bytes resident
    network REAL,                       -- bytes per second
    disk REAL,                          -- bytes per second
    workers INTEGER,
    files REAL,                         -- per second
    bytes REAL,                         -- per second
    throttled INTEGER NOT NULL DEFAULT 0,
    iowait REAL,                        -- percent of the processors' time
    busy REAL,                          -- percent of the time in which the busiest disk had something to do
    used REAL,                          -- percent of the machine's memory that is not available
    wanted INTEGER,                     -- workers there would be if the host had no say
    cause TEXT NOT NULL DEFAULT '',     -- why the run is slowed down
    paused INTEGER NOT NULL DEFAULT 0,
    bandwidth INTEGER NOT NULL DEFAULT 0,  -- limit in bytes per second, 0: none
    pending_files INTEGER,
    pending_bytes INTEGER,
    seconds INTEGER NOT NULL DEFAULT 0  -- 0: a sample; else the mean of so many seconds from time on
);
CREATE INDEX metric_run ON metric (run, id);
CREATE INDEX metric_seconds ON metric (seconds, time);

-- how the crawl stood, now and then
CREATE TABLE crawl (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    time INTEGER NOT NULL,
    active INTEGER NOT NULL,            -- directories being listed
    waiting INTEGER NOT NULL,           -- directories that wait for a slot
    queued INTEGER NOT NULL,            -- directories in the frontier's window, -1 where more are on record
    held INTEGER NOT NULL,              -- names in memory
    files_limit INTEGER NOT NULL,
    directories_limit INTEGER NOT NULL,
    total_files INTEGER NOT NULL,       -- seen since the run began
    total_directories INTEGER NOT NULL,
    files_per_second REAL NOT NULL,
    directories_per_second REAL NOT NULL,
    directory_seconds REAL NOT NULL,    -- a directory on average
    memory INTEGER NOT NULL,            -- bytes resident
    memory_limit INTEGER NOT NULL,      -- bytes, 0: none
    threads INTEGER NOT NULL,
    threads_limit INTEGER NOT NULL,
    engaged TEXT NOT NULL,              -- what keeps directories waiting: 'files,memory'
    adjustments INTEGER NOT NULL,
    settled INTEGER NOT NULL            -- directories skipped by their change times
);
CREATE INDEX crawl_run ON crawl (run, id);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    run INTEGER,
    time INTEGER NOT NULL,
    level INTEGER NOT NULL,             -- as in logging
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    path,
    kind TEXT,                          -- errors.ErrorKind
    attempt INTEGER NOT NULL DEFAULT 0,
    resolved INTEGER NOT NULL DEFAULT 0,
    size INTEGER,                       -- bytes
    number INTEGER NOT NULL DEFAULT 1   -- of files that it is about
);
CREATE INDEX event_open ON event (run, path) WHERE level >= 40 AND resolved = 0;
CREATE INDEX event_minor ON event (id) WHERE level < 30;

-- what runs did that are not kept themselves
CREATE TABLE past (
    pair INTEGER NOT NULL,
    hour INTEGER NOT NULL,              -- since 1970; 0: all that is older than those that are kept
    runs INTEGER NOT NULL,
    ended INTEGER NOT NULL,             -- by themselves
    clean INTEGER NOT NULL,             -- of those: without any failure
    files INTEGER NOT NULL,             -- copied
    bytes INTEGER NOT NULL,
    failed INTEGER NOT NULL,            -- files and directories
    deleted INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (pair, hour)
) WITHOUT ROWID;

-- where the time of a run went: its slowest units, the slowest first
CREATE TABLE slow (
    run INTEGER NOT NULL,
    place INTEGER NOT NULL,
    seconds REAL NOT NULL,
    files INTEGER NOT NULL,             -- copied by the unit
    bytes INTEGER NOT NULL,
    path NOT NULL,                      -- of the file, or of the directory with a slash at its end
    PRIMARY KEY (run, place)
) WITHOUT ROWID;

CREATE TABLE control (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    time INTEGER NOT NULL,
    verb TEXT NOT NULL,
    argument TEXT NOT NULL DEFAULT '',
    done INTEGER                        -- when the run took it
);
CREATE INDEX control_open ON control (run, id) WHERE done IS NULL;

-- ---- for people ----

CREATE VIEW file_path AS
SELECT
    f.directory_id AS directory_id,
    p.id AS pair,
    CAST(iif(d.path = '', '', d.path || '/') || f.name AS TEXT) AS path,
    p.source || iif(p.source LIKE '%/', '', '/') || CAST(iif(d.path = '', '', d.path || '/') || f.name AS TEXT)
        AS source_path,
    p.destination || iif(p.destination LIKE '%/', '', '/')
        || CAST(iif(d.path = '', '', d.path || '/') || f.name AS TEXT) AS dest_path,
    strftime('%Y-%m-%dT%H:%M:%S', (f.birth - ((f.birth % 1000000000) + 1000000000) % 1000000000) / 1000000000,
        'unixepoch') || printf('.%09dZ', ((f.birth % 1000000000) + 1000000000) % 1000000000) AS created_date,
    strftime('%Y-%m-%dT%H:%M:%S', (f.ctime - ((f.ctime % 1000000000) + 1000000000) % 1000000000) / 1000000000,
        'unixepoch') || printf('.%09dZ', ((f.ctime % 1000000000) + 1000000000) % 1000000000) AS changed_date,
    strftime('%Y-%m-%dT%H:%M:%S', (f.mtime - ((f.mtime % 1000000000) + 1000000000) % 1000000000) / 1000000000,
        'unixepoch') || printf('.%09dZ', ((f.mtime % 1000000000) + 1000000000) % 1000000000) AS modified_date,
    printf('%04o', f.mode & 4095) AS permissions,
    f.uid AS uid,
    f.gid AS gid,
    f.hash_algorithm AS hash_algorithm,
    lower(hex(f.hash)) AS hash,
    f.size AS size,
    CASE f.status WHEN 0 THEN 'pending' WHEN 1 THEN 'synced' WHEN 2 THEN 'failed' ELSE 'skipped' END AS status,
    f.etag AS etag,
    f.content_md5 AS content_md5,
    datetime(f.first_seen / 1000000000, 'unixepoch') AS first_seen,
    datetime(f.last_synced / 1000000000, 'unixepoch') AS last_synced,
    f.run AS run,
    f.error AS error,
    f.error_kind AS error_kind
FROM file AS f
JOIN directory AS d ON d.id = f.directory_id
JOIN pair AS p ON p.id = d.pair;

CREATE VIEW sync_runs AS
SELECT
    id,
    datetime(started / 1000000000, 'unixepoch') AS started_at,
    datetime(ended / 1000000000, 'unixepoch') AS completed_at,
    status,
    coalesce(stats ->> 'scanned_files', 0) AS total_files,
    coalesce(stats ->> 'copied_files', 0) AS downloaded_files,
    coalesce(stats ->> 'failed_files', 0) AS failed_files,
    coalesce(stats ->> 'copied_bytes', 0) AS total_bytes,
    message AS error_message
FROM run;

CREATE VIEW blob_state AS
SELECT
    directory_id || ':' || path AS id,
    path AS blob_name,
    path AS blob_path,
    dest_path AS local_path,
    size AS size_bytes,
    content_md5,
    modified_date AS last_modified,
    etag,
    first_seen AS first_seen_at,
    last_synced AS last_synced_at,
    run AS sync_run_id,
    iif(status = 'synced', 'downloaded', status) AS status,
    error AS error_message
FROM file_path;

CREATE VIEW sync_checkpoint AS
SELECT
    p.id AS id,
    p.source AS container_name,
    datetime(max(coalesce(c.time, 0), coalesce((SELECT max(r.started) FROM run AS r WHERE r.pair = p.id), 0))
        / 1000000000, 'unixepoch') AS last_check_time,
    c.token AS last_continuation_token,
    coalesce(c.total, p.known_files) AS total_blobs_tracked
FROM pair AS p
LEFT JOIN checkpoint AS c ON c.pair = p.id;

CREATE VIEW performance_metrics AS
SELECT
    id,
    run AS sync_run_id,
    datetime(time / 1000000000, 'unixepoch') AS timestamp,
    cpu AS cpu_percent,
    memory / 1048576 AS memory_mb,
    network * 8 / 1000000 AS network_mbps,
    disk * 8 / 1000000 AS disk_io_mbps,
    workers AS active_workers,
    files AS download_rate_files_per_sec,
    bytes * 8 / 1000000 AS download_rate_mbps,
    throttled
FROM metric;

CREATE VIEW crawl_metrics AS
SELECT
    id,
    run AS sync_run_id,
    datetime(time / 1000000000, 'unixepoch') AS timestamp,
    active AS active_dirs,
    waiting AS waiting_dirs,
    queued AS queued_dirs,
    held AS files_in_window,
    files_limit AS max_active_files,
    directories_limit AS crawl_parallelism,
    total_files,
    total_directories AS total_dirs,
    files_per_second AS files_per_sec,
    directories_per_second AS dirs_per_sec,
    directory_seconds AS avg_dir_seconds,
    memory / 1048576 AS memory_mb,
    memory_limit / 1048576 AS memory_limit_mb,
    threads,
    threads_limit,
    engaged AS throttled_by,
    adjustments,
    settled AS ctime_skips
FROM crawl;

CREATE VIEW error_log AS
SELECT
    id,
    run AS sync_run_id,
    datetime(time / 1000000000, 'unixepoch') AS timestamp,
    CAST(coalesce(path, '') AS TEXT) AS blob_name,
    CASE
        WHEN kind IN ('network', 'timeout', 'busy') THEN 'network'
        WHEN kind IN ('checksum', 'changed') THEN 'checksum'
        WHEN kind IN ('io', 'no-space', 'read-only') THEN 'disk'
        WHEN kind IN ('denied', 'auth') THEN 'auth'
        ELSE 'unknown'
    END AS error_type,
    message AS error_message,
    attempt AS retry_count,
    resolved
FROM event
WHERE level >= 40;
