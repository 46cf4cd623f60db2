-- from schema 1: what a crawl tells of itself

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
