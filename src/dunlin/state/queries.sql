-- The statements of dunlin's state, by name. The index that serves each hot one is asserted in
-- tests/unit/state/test_plans.py. Literals such as `status = 0` are what lets a partial index be used.

-- ---- runs.py ----

-- name: clock
SELECT last FROM clock

-- name: clock_set
UPDATE clock SET last = max(last, ?)

-- name: pair_get
SELECT id, selection, durable_before, boot_id, root, known_files FROM pair WHERE source = ? AND destination = ?

-- name: pair_insert
INSERT INTO pair (source, destination, selection) VALUES (?, ?, ?)

-- name: pair_began
UPDATE pair SET selection = ?2, boot_id = ?3 WHERE id = ?1

-- name: pair_boot
SELECT boot_id, durable_before FROM pair WHERE id = ?

-- name: pair_root
UPDATE pair SET root = ?2 WHERE id = ?1

-- name: pair_known
UPDATE pair SET known_files = ?2 WHERE id = ?1

-- name: pair_durable
UPDATE pair SET durable_before = max(durable_before, ?2) WHERE id = ?1

-- name: pair_all
SELECT id, source, destination, known_files FROM pair ORDER BY id

-- name: doubt_mark
UPDATE directory SET digest = NULL, doubt = min(coalesce(doubt, ?2), ?2)
WHERE pair = ?1 AND written >= ?2

-- name: doubt_queue
UPDATE directory SET run = ?2, status = 0, target = 0 WHERE pair = ?1 AND doubt IS NOT NULL

-- name: doubt_page
SELECT id, path FROM directory WHERE pair = ?1 AND doubt IS NOT NULL AND id > ?2 ORDER BY id LIMIT ?3

-- name: doubt_files
SELECT f.name FROM directory AS d CROSS JOIN file AS f ON f.directory_id = d.id
WHERE d.id = ?1 AND d.doubt IS NOT NULL AND f.status = 1 AND f.last_synced >= d.doubt AND f.name > ?2
ORDER BY f.name LIMIT ?3

-- name: run_insert
INSERT INTO run (pair, started, updated, boot_id, pid, status, options, continued_from, origin)
VALUES (?1, ?2, ?2, ?3, ?4, 'running', ?5, ?6, coalesce((SELECT origin FROM run WHERE id = ?6), 0))

-- name: run_origin
UPDATE run SET origin = id WHERE id = ? AND origin = 0

-- name: run_get
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run WHERE id = ?

-- name: run_last
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run WHERE pair = ? ORDER BY id DESC LIMIT 1

-- name: run_last_whole
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run WHERE pair = ? AND json_extract(options, '$.retry') IS NULL ORDER BY id DESC LIMIT 1

-- name: run_newest
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run ORDER BY id DESC LIMIT 1

-- name: run_retries
SELECT id, json_extract(options, '$.retry') FROM run
WHERE pair = ?1 AND id > ?2 AND json_extract(options, '$.retry') IS NOT NULL ORDER BY id

-- name: run_tokens
SELECT json_extract(options, '$.token') FROM run WHERE pair = ?1 ORDER BY id DESC LIMIT ?2

-- name: run_moved
SELECT coalesce(sum(json_extract(stats, '$.copied_bytes')), 0)
    + coalesce((SELECT sum(bytes) FROM past WHERE pair = ?1), 0)
FROM run WHERE pair = ?1

-- name: run_page
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run WHERE pair = ? ORDER BY id DESC LIMIT ?

-- name: run_live
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run WHERE status = 'running' ORDER BY id

-- name: run_success
SELECT max(ended) FROM run WHERE pair = ? AND status = 'completed' AND json_extract(options, '$.retry') IS NULL

-- name: run_began_clean
-- when the last run that ended with 0 began, or the first of the runs that it continued
SELECT origin.started FROM run JOIN run AS origin ON origin.id = run.origin
WHERE run.pair = ? AND run.status = 'completed'
    AND coalesce(json_extract(run.stats, '$.failed_files'), json_extract(run.stats, '$.failed_directories'),
        json_extract(run.stats, '$.vanished_files'), json_extract(run.stats, '$.source_errors'), 0) = 0
    AND json_extract(run.options, '$.retry') IS NULL
ORDER BY run.id DESC LIMIT 1

-- name: run_dead
UPDATE run SET status = 'interrupted', ended = updated, message = 'the process ended without a word'
WHERE status = 'running' AND pair = ?

-- name: run_update
UPDATE run SET stats = ?2, updated = ?3, life = coalesce(?4, life) WHERE id = ?1

-- name: run_finish
UPDATE run SET status = ?2, stats = ?3, message = ?4, ended = ?5, updated = ?5 WHERE id = ?1

-- name: run_chain_files
SELECT sum(coalesce(stats ->> 'scanned_files', 0)) FROM run WHERE pair = ?1 AND id >= ?2 AND origin = ?2

-- name: link_clear
DELETE FROM link WHERE pair = ?

-- name: extra_clear
DELETE FROM extra WHERE pair = ?

-- ---- frontier.py ----

-- name: directory_add
-- one of the same run is left as it is, but for a directory that was through (status > 1) and is missing there (target 2)
INSERT INTO directory (pair, path, run, target) VALUES (?1, ?3, ?2, ?4)
ON CONFLICT (pair, path) DO UPDATE SET run = excluded.run, status = 0, target = excluded.target
    WHERE directory.run <> excluded.run OR (directory.status > 1 AND excluded.target = 2)
RETURNING id, path

-- name: directory_next_old
SELECT id, path, target FROM directory WHERE run = ?1 AND status = 0 AND id > ?2 ORDER BY id LIMIT ?3

-- name: directory_next_new
SELECT id, path, target FROM directory WHERE run = ?1 AND status = 0 AND id < ?2 ORDER BY id DESC LIMIT ?3

-- name: directory_finish
UPDATE directory SET run = ?2, status = ?3, ctime = ?4, digest = ?5, doubt = iif(?3 = 2, NULL, doubt) WHERE id = ?1

-- name: directory_known
SELECT ?3, id, iif(doubt IS NULL, digest, NULL), ctime, status, doubt IS NOT NULL
FROM directory WHERE pair = ?1 AND path = ?2

-- name: directory_path
SELECT path FROM directory WHERE id = ?

-- name: directory_from
SELECT path, id FROM directory WHERE pair = ?1 AND path >= ?2 AND path < ?3 ORDER BY path LIMIT 1

-- name: directory_adopt_queued
-- a directory that was absent at the destination may have been in flight at a kill: it is there now
UPDATE directory SET run = ?2, target = iif(target = 2, 0, target) WHERE run = ?1 AND status = 0

-- name: directory_adopt_scanned
UPDATE directory SET run = ?2 WHERE run = ?1 AND status = 1

-- name: directory_count_queued
SELECT count(*) FROM directory WHERE run = ? AND status = 0

-- name: directory_count_scanned
SELECT count(*) FROM directory WHERE run = ? AND status = 1

-- name: directory_any_unfinished
SELECT EXISTS (SELECT 1 FROM directory WHERE run = ?1 AND status = 0)
    OR EXISTS (SELECT 1 FROM directory WHERE run = ?1 AND status = 1)

-- name: directory_failed
SELECT id, path FROM directory WHERE run = ?1 AND status = 3 AND id > ?2 ORDER BY id LIMIT ?3

-- name: directory_scanned
SELECT id, path FROM directory WHERE run = ?1 AND status = 1 ORDER BY id LIMIT ?2

-- name: directory_gone
-- target 3: only the destination had it
SELECT id FROM directory WHERE +pair = ?1 AND (run < ?2 OR target = 3) AND id > ?3 ORDER BY id LIMIT ?4

-- name: directory_drop
DELETE FROM directory WHERE id = ?

-- name: file_drop_all
DELETE FROM file WHERE directory_id = ?

-- ---- files.py ----

-- name: file_any
SELECT 1 FROM file WHERE directory_id = ? LIMIT 1

-- name: file_insert
INSERT INTO file (directory_id, run, first_seen, last_synced, name, size, mtime, ctime, birth, mode, uid, gid, etag,
    content_md5, hash_algorithm, hash, status, error, error_kind)
VALUES (?1, ?2, ?3, iif(?16 = 1, ?3, NULL), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)

-- name: file_upsert
INSERT INTO file (directory_id, run, first_seen, last_synced, name, size, mtime, ctime, birth, mode, uid, gid, etag,
    content_md5, hash_algorithm, hash, status, error, error_kind)
VALUES (?1, ?2, ?3, iif(?16 = 1, ?3, NULL), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
ON CONFLICT (directory_id, name) DO UPDATE SET
    run = excluded.run,
    last_synced = coalesce(excluded.last_synced, last_synced),
    hash_algorithm = iif(excluded.hash IS NULL AND size IS excluded.size AND mtime IS excluded.mtime,
        hash_algorithm, excluded.hash_algorithm),
    hash = iif(excluded.hash IS NULL AND size IS excluded.size AND mtime IS excluded.mtime, hash, excluded.hash),
    content_md5 = iif(excluded.content_md5 IS NULL AND size IS excluded.size AND mtime IS excluded.mtime,
        content_md5, excluded.content_md5),
    size = excluded.size, mtime = excluded.mtime, ctime = excluded.ctime, birth = coalesce(excluded.birth, birth),
    mode = excluded.mode, uid = excluded.uid, gid = excluded.gid,
    -- what failed, or waits, has not been synced: the version on record stays the one that was
    etag = iif(excluded.status <> 1 OR (excluded.etag IS NULL AND size IS excluded.size AND mtime IS excluded.mtime),
        coalesce(etag, excluded.etag), excluded.etag),
    status = excluded.status, error = excluded.error, error_kind = excluded.error_kind

-- name: file_insert_synced
INSERT INTO file (directory_id, run, first_seen, last_synced, hash_algorithm, name, size, mtime, ctime, birth, mode,
    uid, gid, hash, status)
VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1)

-- name: directory_written
UPDATE directory SET digest = NULL, written = max(written, ?2) WHERE id = ?1

-- name: file_known
SELECT name, size, mtime, ctime, mode, uid, gid, etag, hash_algorithm, hash, status, last_synced FROM file
WHERE directory_id = ?1 AND name > ?2 AND name < ?3 ORDER BY name LIMIT ?4

-- name: file_some
SELECT name, size, mtime, ctime, mode, uid, gid, etag, hash_algorithm, hash, status, last_synced FROM file
WHERE directory_id = ?1 AND name = ?2

-- name: file_forget
DELETE FROM file WHERE directory_id = ? AND name = ?

-- name: file_forget_unseen
DELETE FROM file WHERE directory_id = ? AND run < ?

-- name: pending_rest
SELECT d.id, d.path, f.name, f.size FROM directory AS d
CROSS JOIN file AS f INDEXED BY file_pending ON f.directory_id = d.id
WHERE d.id = ?2 AND d.run = ?1 AND d.status = 1 AND f.status = 0 AND f.name > ?3
ORDER BY f.name LIMIT ?4

-- name: pending_next
SELECT d.id, d.path, f.name, f.size FROM directory AS d
CROSS JOIN file AS f INDEXED BY file_pending ON f.directory_id = d.id
WHERE d.run = ?1 AND d.status = 1 AND d.id > ?2 AND f.status = 0
ORDER BY d.id, f.name LIMIT ?3

-- name: pending_totals
SELECT count(*), coalesce(sum(f.size), 0) FROM directory AS d
CROSS JOIN file AS f INDEXED BY file_pending ON f.directory_id = d.id
WHERE d.run = ?1 AND d.status = 1 AND f.status = 0

-- name: failed_page
SELECT f.directory_id, d.path, f.name, f.size, f.error, f.error_kind, f.run FROM file AS f INDEXED BY file_failed
CROSS JOIN directory AS d ON d.id = f.directory_id
WHERE f.run = ?1 AND f.status = 2 AND (f.directory_id, f.name) > (?2, ?3)
ORDER BY f.directory_id, f.name LIMIT ?4

-- name: failed_in_run
SELECT count(*) FROM file INDEXED BY file_failed WHERE run = ?1 AND status = 2

-- name: failed_kinds
SELECT f.error_kind, count(*) FROM run AS r
CROSS JOIN file AS f INDEXED BY file_failed ON f.run = r.id
WHERE r.pair = ?1 AND f.status = 2 GROUP BY f.error_kind

-- name: failed_of_pair
SELECT f.directory_id, d.path, f.name, f.size, f.error, f.error_kind, f.run FROM run AS r
CROSS JOIN file AS f INDEXED BY file_failed ON f.run = r.id
CROSS JOIN directory AS d ON d.id = f.directory_id
WHERE r.pair = ?1 AND f.status = 2 ORDER BY r.id DESC LIMIT ?2

-- name: failed_directories_of_pair
-- why is told by an event, which may be gone
SELECT d.id, d.path, d.run, e.message, e.kind FROM run AS r
CROSS JOIN directory AS d INDEXED BY directory_failed ON d.run = r.id
LEFT JOIN event AS e ON e.id = (
    SELECT max(id) FROM event WHERE run = d.run AND path = d.path AND level >= 40 AND resolved = 0)
WHERE r.pair = ?1 AND d.status = 3 ORDER BY r.id DESC, d.id LIMIT ?2

-- name: failed_directories_of_run
SELECT d.id, d.path, d.run, e.message, e.kind FROM directory AS d INDEXED BY directory_failed
LEFT JOIN event AS e ON e.id = (
    SELECT max(id) FROM event WHERE run = d.run AND path = d.path AND level >= 40 AND resolved = 0)
WHERE d.run = ?1 AND d.status = 3 ORDER BY d.id LIMIT ?2

-- name: failed_directories_count
SELECT count(*) FROM run AS r
CROSS JOIN directory AS d INDEXED BY directory_failed ON d.run = r.id WHERE r.pair = ?1 AND d.status = 3

-- ---- later.py: what waits for the end of the transfers ----

-- name: extra_put
INSERT INTO extra (pair, path, is_directory, top) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (pair, path) DO UPDATE SET is_directory = excluded.is_directory, top = excluded.top

-- name: extra_first
SELECT path, is_directory, top FROM extra WHERE pair = ?1 ORDER BY path DESC LIMIT ?2

-- name: extra_page
SELECT path, is_directory, top FROM extra WHERE pair = ?1 AND path < ?2 ORDER BY path DESC LIMIT ?3

-- name: blocked_first
-- read at most twice in a run, as often as there are pages of it: no index is worth its rows
SELECT path FROM extra WHERE pair = ?1 AND top = 2 ORDER BY path DESC LIMIT ?2

-- name: blocked_page
SELECT path FROM extra WHERE pair = ?1 AND path < ?2 AND top = 2 ORDER BY path DESC LIMIT ?3

-- name: extra_count
SELECT count(*), coalesce(sum(is_directory), 0) FROM extra WHERE pair = ?

-- name: extra_drop
DELETE FROM extra WHERE pair = ? AND path = ?

-- name: link_first
SELECT path FROM link WHERE pair = ? AND dev = ? AND ino = ? ORDER BY waits, path LIMIT 1

-- name: link_put
INSERT OR IGNORE INTO link (pair, dev, ino, waits, path) VALUES (?, ?, ?, ?, ?)

-- name: link_drop
DELETE FROM link WHERE pair = ? AND dev = ? AND ino = ? AND waits = ? AND path = ?

-- name: link_page
SELECT dev, ino, waits, path FROM link WHERE pair = ?1 AND (dev, ino, waits, path) > (?2, ?3, ?4, ?5)
ORDER BY dev, ino, waits, path LIMIT ?6

-- name: token_put
INSERT INTO checkpoint (pair, prefix, token, time, total) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (pair, prefix) DO UPDATE SET token = excluded.token, time = excluded.time, total = excluded.total

-- name: checked_put
INSERT INTO checkpoint (pair, prefix, time, total) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (pair, prefix) DO UPDATE SET time = excluded.time, total = excluded.total

-- name: checked_drop
DELETE FROM checkpoint WHERE pair = ?1 AND prefix <> ?2 AND token IS NULL

-- name: bookmark_put
INSERT INTO checkpoint (pair, prefix, token, time) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (pair, prefix) DO UPDATE SET token = excluded.token, time = excluded.time

-- name: bookmark_clear
UPDATE checkpoint SET token = NULL WHERE pair = ?1 AND token IS NOT NULL

-- name: token_get
SELECT token, time, total FROM checkpoint WHERE pair = ? AND prefix = ?

-- ---- news.py: events, metrics, control ----

-- name: event_put
INSERT INTO event (run, time, level, name, message, path, kind, attempt, size, number)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: event_trim_minor
DELETE FROM event WHERE level < 30
    AND id <= (SELECT id FROM event WHERE level < 30 ORDER BY id DESC LIMIT 1 OFFSET ?)

-- name: event_trim
DELETE FROM event WHERE level >= 30
    AND id <= (SELECT id FROM event WHERE level >= 30 ORDER BY id DESC LIMIT 1 OFFSET ?)

-- name: event_age
DELETE FROM event WHERE time < ?1 OR (resolved AND time < ?2)

-- name: event_after
SELECT id, run, time, level, name, message, path, kind, attempt, resolved, size, number FROM event
WHERE id > ? ORDER BY id LIMIT ?

-- name: event_last
SELECT id, run, time, level, name, message, path, kind, attempt, resolved, size, number FROM event ORDER BY id DESC LIMIT ?

-- name: event_resolve
UPDATE event SET resolved = 1
WHERE run IN (SELECT id FROM run WHERE pair = ?1) AND path = ?2 AND level >= 40 AND resolved = 0

-- name: metric_put
INSERT INTO metric (run, time, cpu, memory, network, disk, workers, files, bytes, throttled, iowait, busy, used, wanted, cause, paused, bandwidth,
    pending_files, pending_bytes, seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: metric_trim
DELETE FROM metric WHERE id <= (SELECT id FROM metric ORDER BY id DESC LIMIT 1 OFFSET ?)

-- name: metric_after
SELECT id, run, time, cpu, memory, network, disk, workers, files, bytes, throttled, iowait, busy, used, wanted, cause, paused, bandwidth,
    pending_files, pending_bytes, seconds FROM metric
WHERE run = ? AND id > ? ORDER BY id LIMIT ?

-- name: crawl_put
INSERT INTO crawl (
    run, time, active, waiting, queued, held, files_limit, directories_limit, total_files, total_directories,
    files_per_second, directories_per_second, directory_seconds, memory, memory_limit, threads, threads_limit, engaged,
    adjustments, settled
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: crawl_trim
DELETE FROM crawl WHERE id <= ?

-- name: crawl_after
SELECT id, run, time,
    active, waiting, queued, held, files_limit, directories_limit, total_files, total_directories,
    files_per_second, directories_per_second, directory_seconds, memory, memory_limit, threads, threads_limit, engaged,
    adjustments, settled
FROM crawl
WHERE run = ? AND id > ? ORDER BY id LIMIT ?

-- name: control_put
INSERT INTO control (run, time, verb, argument) SELECT id, ?2, ?3, ?4 FROM run
WHERE status = 'running' AND (?1 IS NULL OR id = ?1)

-- name: control_watch
INSERT INTO control (run, time, verb, argument) SELECT id, ?2, ?3, ?4 FROM run
WHERE id = ?1 AND status <> 'running' AND json_extract(options, '$.watch')

-- name: control_waiting
SELECT count(*) FROM control WHERE run = ? AND done IS NULL

-- name: control_open
SELECT id, verb, argument FROM control WHERE run = ? AND done IS NULL ORDER BY id LIMIT 100

-- name: control_done
UPDATE control SET done = ?2 WHERE id = ?1

-- ---- overview.py: what live views read ----

-- name: run_before
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run WHERE id < ?1 ORDER BY id DESC LIMIT ?2

-- name: run_before_of_pair
SELECT id, pair, started, ended, updated, boot_id, pid, status, message, stats, options, continued_from, origin, life
FROM run WHERE pair = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3

-- name: run_sums
-- runs, clean, ended, files, bytes, failed, deleted, seconds
SELECT count(*),
    coalesce(sum(status = 'completed' AND bad = 0), 0),
    coalesce(sum(status IN ('completed', 'failed')), 0),
    coalesce(sum(stats ->> 'copied_files'), 0),
    coalesce(sum(stats ->> 'copied_bytes'), 0)
        + coalesce(sum(CASE WHEN status = 'running' THEN life ->> 'flying' END), 0),
    coalesce(sum(coalesce(stats ->> 'failed_files', 0) + coalesce(stats ->> 'failed_directories', 0)), 0),
    coalesce(sum(coalesce(stats ->> 'deleted_files', 0) + coalesce(stats ->> 'deleted_directories', 0)), 0),
    coalesce(sum(coalesce(ended, updated) - started), 0) / 1e9
FROM (
    SELECT *, coalesce(stats ->> 'failed_files', stats ->> 'failed_directories', stats ->> 'source_errors', 0) AS bad
    FROM run WHERE coalesce(ended, updated) > ?1 AND (?2 IS NULL OR pair = ?2)
)

-- name: past_sums
SELECT coalesce(sum(runs), 0), coalesce(sum(clean), 0), coalesce(sum(ended), 0), coalesce(sum(files), 0),
    coalesce(sum(bytes), 0), coalesce(sum(failed), 0), coalesce(sum(deleted), 0), coalesce(sum(seconds), 0.0)
FROM past WHERE hour >= ?1 AND (?2 IS NULL OR pair = ?2)

-- name: metric_rate
-- what was sampled in a pause says nothing of how fast the run is
WITH newest AS (
    SELECT files, bytes, time FROM metric WHERE run = ?1 AND seconds = 0 AND NOT paused ORDER BY id DESC LIMIT 20
)
SELECT avg(files), avg(bytes) FROM newest WHERE time > (SELECT max(time) FROM newest) - ?2 HAVING count(*)

-- name: metric_latest
SELECT run, time, cpu, memory, network, disk, workers, files, bytes, throttled, iowait, busy, used, wanted, cause, paused, bandwidth,
    pending_files, pending_bytes, seconds FROM metric
WHERE run = ? ORDER BY id DESC LIMIT 1

-- name: metric_page
SELECT run, time, cpu, memory, network, disk, workers, files, bytes, throttled, iowait, busy, used, wanted, cause, paused, bandwidth,
    pending_files, pending_bytes, seconds FROM metric
WHERE run = ?1 AND time > ?2 ORDER BY id LIMIT ?3

-- name: metric_series
-- the marked column becomes another word of overview.SERIES; a mean stands for the time behind it
SELECT seconds, min(time), avg(/*field*/cpu), count(/*field*/cpu) FROM metric
WHERE (seconds = 0 AND time >= ?1 OR seconds = 60 AND time > ?1 - 60000000000
        OR seconds = 3600 AND time > ?1 - 3600000000000)
    AND time < ?2 AND /*field*/cpu IS NOT NULL
    AND (?4 IS NULL OR run = ?4) AND (?5 IS NULL OR run IN (SELECT id FROM run WHERE pair = ?5))
GROUP BY seconds, iif(seconds, time, (time - ?1) / ?3)

-- name: event_activity
SELECT id, run, time, level, name, message, path, kind, attempt, resolved, size, number FROM event
WHERE id > ?1 AND id < ?2 AND (?4 IS NULL OR run = ?4) ORDER BY id DESC LIMIT ?3

-- name: event_errors
SELECT id, run, time, level, name, message, path, kind, attempt, resolved, size, number FROM event
WHERE level >= 40 AND id > ?1 AND id < ?2 AND (?4 IS NULL OR run = ?4)
    AND (?5 IS NULL OR run IN (SELECT id FROM run WHERE pair = ?5)) AND (?6 OR resolved = 0)
ORDER BY id DESC LIMIT ?3

-- name: event_error_kinds
SELECT kind, count(*) FROM event
WHERE level >= 40 AND resolved = 0 AND (?1 IS NULL OR run = ?1)
    AND (?2 IS NULL OR run IN (SELECT id FROM run WHERE pair = ?2))
GROUP BY kind

-- name: crawl_last
SELECT time,
    active, waiting, queued, held, files_limit, directories_limit, total_files, total_directories,
    files_per_second, directories_per_second, directory_seconds, memory, memory_limit, threads, threads_limit, engaged,
    adjustments, settled
FROM crawl
WHERE run = ? ORDER BY id DESC LIMIT ?

-- ---- thinning.py ----

-- name: metric_minutes
SELECT min(m.id), m.run, min(m.time),
    avg(m.cpu), max(m.memory), avg(m.network), avg(m.disk), CAST(round(avg(m.workers)) AS INTEGER),
    avg(m.files), avg(m.bytes), avg(m.throttled) >= 0.5, avg(m.iowait), avg(m.busy), avg(m.used), max(m.wanted),
    max(m.cause), avg(m.paused) >= 0.5, max(m.bandwidth), max(m.pending_files), max(m.pending_bytes), ?2
FROM metric AS m WHERE m.seconds = 0 AND m.time < ?1
GROUP BY m.run, m.time / 60000000000

-- name: metric_hours
-- the hour of a pair: runs of a watch may be many
SELECT min(m.id), max(m.run), min(m.time),
    avg(m.cpu), max(m.memory), avg(m.network), avg(m.disk), CAST(round(avg(m.workers)) AS INTEGER),
    avg(m.files), avg(m.bytes), avg(m.throttled) >= 0.5, avg(m.iowait), avg(m.busy), avg(m.used), max(m.wanted),
    max(m.cause), avg(m.paused) >= 0.5, max(m.bandwidth), max(m.pending_files), max(m.pending_bytes), ?2
FROM metric AS m LEFT JOIN run AS r ON r.id = m.run
WHERE m.seconds = 60 AND m.time < ?1
GROUP BY coalesce(r.pair, -m.run), m.time / 3600000000000

-- name: metric_thin
DELETE FROM metric WHERE seconds = ?1 AND time < ?2

-- name: metric_mean
INSERT INTO metric (id, run, time, cpu, memory, network, disk, workers, files, bytes, throttled, iowait, busy, used, wanted, cause, paused, bandwidth,
    pending_files, pending_bytes, seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: run_old
SELECT id FROM run WHERE pair = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2

-- name: run_spare
-- runs that nothing refers to any more: no file that failed, no directory that waits, not the last one that went well
SELECT id, status, coalesce(ended, updated) / 3600000000000, (coalesce(ended, updated) - started) / 1e9, stats
FROM run AS r
WHERE pair = ?1 AND id <= ?2 AND status <> 'running'
    AND origin <> (SELECT origin FROM run WHERE pair = ?1 ORDER BY id DESC LIMIT 1)
    AND id NOT IN (?3, ?4, ?5)
    AND NOT EXISTS (SELECT 1 FROM directory WHERE run = r.id AND status = 0)
    AND NOT EXISTS (SELECT 1 FROM directory WHERE run = r.id AND status = 1)
    AND NOT EXISTS (SELECT 1 FROM directory WHERE run = r.id AND status = 3)
    AND NOT EXISTS (SELECT 1 FROM file INDEXED BY file_failed WHERE run = r.id AND status = 2)
ORDER BY id LIMIT ?6

-- name: run_good
-- the last run of a pair that completed, and the first of the chain of the last one that ended with 0
SELECT (SELECT max(id) FROM run WHERE pair = ?1 AND status = 'completed' AND json_extract(options, '$.retry') IS NULL),
    (SELECT origin FROM run WHERE pair = ?1 AND status = 'completed'
        AND coalesce(json_extract(stats, '$.failed_files'), json_extract(stats, '$.failed_directories'),
            json_extract(stats, '$.vanished_files'), json_extract(stats, '$.source_errors'), 0) = 0
        AND json_extract(options, '$.retry') IS NULL
        ORDER BY id DESC LIMIT 1),
    (SELECT id FROM run WHERE pair = ?1 AND status = 'completed'
        AND coalesce(json_extract(stats, '$.failed_files'), json_extract(stats, '$.failed_directories'),
            json_extract(stats, '$.vanished_files'), json_extract(stats, '$.source_errors'), 0) = 0
        AND json_extract(options, '$.retry') IS NULL
        ORDER BY id DESC LIMIT 1)

-- name: run_drop
DELETE FROM run WHERE id = ?

-- name: past_add
INSERT INTO past (pair, hour, runs, ended, clean, files, bytes, failed, deleted, seconds)
VALUES (?, ?, 1, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (pair, hour) DO UPDATE SET runs = runs + 1, ended = ended + excluded.ended, clean = clean + excluded.clean,
    files = files + excluded.files, bytes = bytes + excluded.bytes, failed = failed + excluded.failed,
    deleted = deleted + excluded.deleted, seconds = seconds + excluded.seconds

-- name: past_fold
INSERT INTO past (pair, hour, runs, ended, clean, files, bytes, failed, deleted, seconds)
SELECT pair, 0, sum(runs), sum(ended), sum(clean), sum(files), sum(bytes), sum(failed), sum(deleted), sum(seconds)
FROM past WHERE pair = ?1 AND hour > 0 AND hour < ?2 GROUP BY pair
ON CONFLICT (pair, hour) DO UPDATE SET runs = runs + excluded.runs, ended = ended + excluded.ended,
    clean = clean + excluded.clean, files = files + excluded.files, bytes = bytes + excluded.bytes,
    failed = failed + excluded.failed, deleted = deleted + excluded.deleted, seconds = seconds + excluded.seconds

-- name: past_drop
DELETE FROM past WHERE pair = ?1 AND hour > 0 AND hour < ?2

-- name: control_age
DELETE FROM control WHERE done < ?

-- ---- survey.py: the files of one run ----

-- name: survey_count
SELECT count(*) FROM (SELECT 1 FROM directory INDEXED BY directory_written WHERE pair = ?1 AND written >= ?2 LIMIT ?3)

-- name: survey_directories
SELECT id, path, written FROM directory INDEXED BY directory_written
WHERE pair = ?1 AND written >= ?2 AND id % ?3 = 0 LIMIT ?4

-- name: survey_files
-- rows of other runs, and of files found equal, are counted as band -1
SELECT band, count(*), sum(size), max(size) FROM (
    SELECT coalesce(size, 0) AS size, CASE
        WHEN run <> ?2 OR status <> 1 OR last_synced > ?4 THEN -1 WHEN coalesce(size, 0) < 1 THEN 0 WHEN size < 1024 THEN 1
        WHEN size < 16384 THEN 2 WHEN size < 131072 THEN 3 WHEN size < 1048576 THEN 4 WHEN size < 16777216 THEN 5
        WHEN size < 134217728 THEN 6 WHEN size < 1073741824 THEN 7 ELSE 8 END AS band
    FROM file WHERE directory_id = ?1 LIMIT ?3
) GROUP BY band

-- name: survey_largest
SELECT name, size FROM (
    SELECT name, coalesce(size, 0) AS size, run, status, last_synced FROM file WHERE directory_id = ?1 LIMIT ?3
) WHERE run = ?2 AND status = 1 AND last_synced <= ?4 ORDER BY size DESC LIMIT ?5

-- name: slow_put
INSERT OR REPLACE INTO slow (run, place, seconds, files, bytes, path) VALUES (?, ?, ?, ?, ?, ?)

-- name: slow_drop
DELETE FROM slow WHERE run = ?

-- name: slow_all
SELECT seconds, files, bytes, path FROM slow WHERE run = ? ORDER BY place

-- name: crawl_span
-- the first sample, and the first that knows of all directories
SELECT (SELECT min(time) FROM crawl WHERE run = ?1), min(time) FROM crawl
WHERE run = ?1 AND total_directories = (SELECT max(total_directories) FROM crawl WHERE run = ?1)

-- name: failed_count
SELECT count(*) FROM file INDEXED BY file_failed WHERE run = ? AND status = 2

-- ---- resolved.py ----

-- name: event_unresolved
SELECT id, path, name FROM event
WHERE level >= 40 AND resolved = 0 AND run < ?2 AND run IN (SELECT id FROM run WHERE pair = ?1)
    AND name IN ('file.failed', 'directory.failed') AND path IS NOT NULL
ORDER BY id DESC LIMIT ?3

-- name: event_paths
SELECT path FROM event WHERE level >= 40 AND resolved = 0 AND run = ?1 AND path IS NOT NULL

-- name: event_resolved
UPDATE event SET resolved = 1 WHERE id = ?

-- name: control_pauses
SELECT done, verb FROM control WHERE run = ?1 AND done IS NOT NULL AND verb IN ('pause', 'resume') ORDER BY id LIMIT ?2

-- name: control_of
SELECT id, time, verb, argument FROM control WHERE run = ?1 ORDER BY id DESC LIMIT ?2
