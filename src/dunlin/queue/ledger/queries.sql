-- The ledger's statements, by name. `-- name: NAME postgres` is the text for PostgreSQL alone; see database.py.

-- ---- jobs.py ----

-- name: job_new
INSERT INTO job (id, kind, tenant, created_by, label, status, options, result, counts, error, created, priority, key,
    body, owner, wish, files, units, thinned, host)
VALUES ($1, $2, $3, $4, $5, 'queued', $6, '', '{}', '', $7, $8, $9, $10, '', '', 0, 0, 0, $11)
ON CONFLICT DO NOTHING

-- name: job_columns
SELECT id, kind, tenant, created_by, label, status, options, result, counts, error, created, started, ended, priority,
    key, owner, wish, host FROM job

-- name: job_status
SELECT status, owner FROM job WHERE id = $1 /*postgres FOR UPDATE*/

-- name: job_key
SELECT id, body FROM job WHERE tenant = $1 AND key = $2 AND key <> ''

-- name: job_move
UPDATE job SET status = $2, error = $3, result = $4, started = coalesce($5, started), ended = $6, owner = $7, held = $8,
    wish = '' WHERE id = $1

-- name: job_begin
UPDATE job SET status = $2, error = '', started = $3, ended = NULL, owner = $4, held = $5, wish = '' WHERE id = $1

-- name: job_claiming
SELECT 1

-- name: job_claiming postgres
SELECT pg_advisory_xact_lock(hashtextextended('dunlin.job.claiming', 0))

-- name: job_held
UPDATE job SET held = $2 WHERE owner = $1 AND status = 'running' RETURNING id

-- name: job_lost
UPDATE job SET status = 'interrupted', ended = $1, owner = '', held = NULL, wish = ''
WHERE status = 'running' AND (held < $3 OR (owner = $2 AND owner <> '')) RETURNING id

-- name: job_progress
UPDATE job SET counts = $2 WHERE id = $1 AND ($3 = '' OR owner = $3)

-- name: job_priority
UPDATE job SET priority = $2 WHERE id = $1 AND status NOT IN ('completed', 'failed', 'cancelled')

-- name: job_wish
UPDATE job SET wish = $2 WHERE id = $1 AND status = 'running'

-- name: job_wishes
SELECT id, wish FROM job WHERE status = 'running' AND owner = $1 AND wish <> ''

-- ---- files.py ----

-- name: item_new
INSERT INTO item (job, number, source, target, delete_after_sync, overwrite, total_files, total_bytes, uploaded,
    skipped, failed, cancelled, uploaded_bytes, walked, error)
VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, 0, 0, 0, 0, '')

-- name: item_all
SELECT job, number, source, target, delete_after_sync, overwrite, total_files, total_bytes, uploaded, skipped, failed,
    cancelled, uploaded_bytes, walked, error FROM item WHERE job = $1 ORDER BY number

-- name: item_walked
UPDATE item SET walked = 1, error = $3 WHERE job = $1 AND number = $2

-- name: item_grown
UPDATE item SET total_files = total_files + $3, total_bytes = total_bytes + $4 WHERE job = $1 AND number = $2

-- name: item_counted
UPDATE item SET uploaded = uploaded + $3, skipped = skipped + $4, failed = failed + $5, cancelled = cancelled + $6,
    uploaded_bytes = uploaded_bytes + $7 WHERE job = $1 AND number = $2

-- name: job_given
SELECT files, units, status FROM job WHERE id = $1 /*postgres FOR UPDATE*/

-- name: job_give
UPDATE job SET files = $2, units = $3 WHERE id = $1

-- name: unit_new
INSERT INTO unit (job, number, item, first, files, members, attempt, status, reported, tries)
VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, $7)

-- name: unit_new postgres
INSERT INTO unit (job, number, item, first, files, members, attempt, status, reported, tries)
SELECT job, number, item, first, files, members, 0, 0, 0, tries FROM unnest($1::bigint[], $2::bigint[], $3::integer[],
    $4::bigint[], $5::integer[], $6::text[], $7::integer[]) AS r(job, number, item, first, files, members, tries)

-- name: unit_get
SELECT job, number, item, first, files, members, attempt, status, reported, tries FROM unit
WHERE job = $1 AND number = $2 /*postgres FOR UPDATE*/

-- name: unit_get_plain
SELECT job, number, item, first, files, members, attempt, status, reported, tries FROM unit
WHERE job = $1 AND number = $2

-- name: unit_opens
SELECT job, number, item, first, files, members, attempt, status, reported, tries FROM unit
WHERE job = $1 AND status = 0 AND number > $2 ORDER BY number LIMIT $3

-- name: unit_update
UPDATE unit SET attempt = $3, status = $4, reported = $5 WHERE job = $1 AND number = $2

-- name: unit_update postgres
UPDATE unit SET attempt = r.attempt, status = r.status, reported = r.reported
FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::smallint[], $5::integer[])
    AS r(job, number, attempt, status, reported)
WHERE unit.job = r.job AND unit.number = r.number

-- name: unit_fence
UPDATE unit SET attempt = $3 WHERE job = $1 AND number = $2 AND attempt < $3

-- name: unit_cancel
UPDATE unit SET status = 2 WHERE job = $1 AND status = 0

-- name: unit_open
SELECT count(*) FROM unit WHERE job = $1 AND status = 0

-- name: file_new
INSERT INTO file (job, status, updated, attempt, number, item, unit, size, path, long, key)
VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING

-- name: file_new postgres
INSERT INTO file (job, status, updated, attempt, number, item, unit, size, path, long, key)
SELECT $1, $2, $3, 0, r.* FROM unnest($4::bigint[], $5::integer[], $6::bigint[], $7::bigint[], $8::text[], $9::text[],
    $10::text[]) AS r
ON CONFLICT DO NOTHING

-- name: file_unit
UPDATE file SET unit = $3, status = 0, attempt = 0, worker = NULL, updated = $4 WHERE job = $1 AND number = $2

-- name: file_unit postgres
UPDATE file SET unit = r.unit, status = 0, attempt = 0, worker = NULL, updated = r.updated
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::double precision[]) AS r(job, number, unit, updated)
WHERE file.job = r.job AND file.number = r.number

-- name: file_with_key
SELECT 1 FROM file WHERE job = $1 AND item = $2 AND path = $3 AND key <> ''

-- name: file_span
SELECT number FROM file WHERE job = $1 AND number >= $2 AND number < $3 ORDER BY number

-- name: file_result
UPDATE file SET attempt = $2, worker = $3, updated = $4, status = $6, size = CASE WHEN $7 < 0 THEN size ELSE $7 END
WHERE job = $1 AND number = $5

-- name: file_result postgres
UPDATE file SET attempt = $2, worker = $3, updated = $4, status = r.status,
    size = CASE WHEN r.size < 0 THEN file.size ELSE r.size END
FROM (SELECT $1::bigint AS job, u.* FROM unnest($5::bigint[], $6::smallint[], $7::bigint[])
    AS u(number, status, size) OFFSET 0) AS r  -- OFFSET: else it may read all of the job, once for each row
WHERE file.job = r.job AND file.number = r.number

-- name: file_run postgres
UPDATE file SET attempt = $2, worker = $3, updated = $4, status = r.statuses[(number - $5 + 1)::integer],
    size = CASE WHEN r.sizes[(number - $5 + 1)::integer] < 0 THEN size ELSE r.sizes[(number - $5 + 1)::integer] END
FROM (SELECT $7::smallint[] AS statuses, $8::bigint[] AS sizes OFFSET 0) AS r  -- OFFSET: else it casts for each row
WHERE job = $1 AND number >= $5 AND number < $6

-- name: failure_new
INSERT INTO failure (job, number, error, updated) VALUES ($1, $2, $3, $4)
ON CONFLICT (job, number) DO UPDATE SET error = excluded.error, updated = excluded.updated

-- name: failure_new postgres
INSERT INTO failure (job, number, error, updated)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::double precision[])
ON CONFLICT (job, number) DO UPDATE SET error = excluded.error, updated = excluded.updated

-- name: failure_drop
DELETE FROM failure WHERE job = $1 AND number = $2

-- name: failure_drop postgres
DELETE FROM failure USING unnest($1::bigint[], $2::bigint[]) AS r(job, number)
WHERE failure.job = r.job AND failure.number = r.number

-- name: failure_page
SELECT number FROM failure WHERE job = $1 AND updated <= $2 ORDER BY number LIMIT $3

-- name: file_columns
SELECT f.job, f.number, f.item, coalesce(f.long, f.path), f.key, f.size, f.status, f.attempt, coalesce(f.worker, ''),
    f.updated, coalesce(x.error, '') FROM file AS f LEFT JOIN failure AS x ON x.job = f.job AND x.number = f.number

-- name: failure_columns
SELECT f.job, f.number, f.item, coalesce(f.long, f.path), f.key, f.size, f.status, f.attempt, coalesce(f.worker, ''),
    f.updated, x.error FROM failure AS x JOIN file AS f ON f.job = x.job AND f.number = x.number

-- name: totals
SELECT count(*), coalesce(min(walked), 1), coalesce(sum(total_files), 0), coalesce(sum(total_bytes), 0),
    coalesce(sum(uploaded), 0), coalesce(sum(skipped), 0), coalesce(sum(failed), 0), coalesce(sum(cancelled), 0),
    coalesce(sum(uploaded_bytes), 0) FROM item WHERE job = $1

-- name: file_cancel
UPDATE file SET status = 4, updated = $4 WHERE job = $1 AND number >= $2 AND number < $3 AND status = 0
    AND EXISTS (SELECT 1 FROM unit AS u WHERE u.job = file.job AND u.number = file.unit AND u.status = 2)

-- name: item_cancel
UPDATE item SET cancelled = total_files - uploaded - skipped - failed, walked = 1 WHERE job = $1

-- name: item_left
SELECT coalesce(sum(total_files - uploaded - skipped - failed - cancelled), 0) FROM item WHERE job = $1

-- ---- accounts.py, keys.py ----

-- name: tenant_put
INSERT INTO tenant (name, settings, created) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings

-- name: tenant_get
SELECT name, settings, created FROM tenant WHERE name = $1

-- name: tenant_all
SELECT name, settings, created FROM tenant ORDER BY name

-- name: tenant_drop
DELETE FROM tenant WHERE name = $1

-- name: tenant_used
SELECT (SELECT count(*) FROM account WHERE tenant = $1)
    + (SELECT count(*) FROM api_key WHERE tenant = $1 AND revoked IS NULL)

-- name: account_new
INSERT INTO account (name, role, tenant, password, created) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING

-- name: account_password
UPDATE account SET password = $2 WHERE name = $1

-- name: account_get
SELECT name, role, tenant, created, password FROM account WHERE name = $1

-- name: account_all
SELECT name, role, tenant, created FROM account ORDER BY name

-- name: account_drop
DELETE FROM account WHERE name = $1

-- name: key_new
INSERT INTO api_key (id, digest, label, role, tenant, created_by, created) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING

-- name: key_get
SELECT id, label, role, tenant, created_by, created, last_used, revoked, digest FROM api_key WHERE id = $1

-- name: key_all
SELECT id, label, role, tenant, created_by, created, last_used, revoked FROM api_key ORDER BY created, id

-- name: key_used
UPDATE api_key SET last_used = $2 WHERE id = $1 AND (last_used IS NULL OR last_used < $2)

-- name: key_revoke
UPDATE api_key SET revoked = $2 WHERE id = $1 AND revoked IS NULL

-- name: session_new
INSERT INTO session (digest, account, csrf, created, expires) VALUES ($1, $2, $3, $4, $5)

-- name: session_get
SELECT a.name, a.role, a.tenant, a.created, s.csrf, s.created, s.expires
FROM session AS s JOIN account AS a ON a.name = s.account WHERE s.digest = $1 AND s.expires > $2

-- name: session_end
DELETE FROM session WHERE digest = $1

-- name: session_end_all
DELETE FROM session WHERE account = $1

-- ---- schedules.py ----

-- name: schedule_columns
SELECT name, kind, options, tenant, cron, span, zone, enabled, may_overlap, label, priority, created_by, created, last_run,
    last_job, next_run, passed_over, host FROM schedule

-- name: schedule_put
INSERT INTO schedule (tenant, name, kind, options, cron, span, zone, enabled, may_overlap, label, priority, created_by,
    created, next_run, passed_over, host)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15)
ON CONFLICT (tenant, name) DO UPDATE SET kind = excluded.kind, options = excluded.options, cron = excluded.cron,
    span = excluded.span, zone = excluded.zone, enabled = excluded.enabled, may_overlap = excluded.may_overlap,
    label = excluded.label, priority = excluded.priority, next_run = excluded.next_run, host = excluded.host

-- name: schedule_lock
SELECT name, kind, options, tenant, cron, span, zone, enabled, may_overlap, label, priority, created_by, created, last_run,
    last_job, next_run, passed_over, host FROM schedule WHERE tenant = $1 AND name = $2 /*postgres FOR UPDATE*/

-- name: schedule_due
SELECT name, kind, options, tenant, cron, span, zone, enabled, may_overlap, label, priority, created_by, created, last_run,
    last_job, next_run, passed_over, host FROM schedule WHERE next_run IS NOT NULL AND next_run <= $1
ORDER BY next_run, tenant, name LIMIT $2 /*postgres FOR UPDATE SKIP LOCKED*/

-- name: schedule_next
UPDATE schedule SET enabled = $3, next_run = $4 WHERE tenant = $1 AND name = $2

-- name: schedule_ran
UPDATE schedule SET next_run = $3, last_run = $4, last_job = $5, passed_over = $6 WHERE tenant = $1 AND name = $2

-- name: schedule_drop
DELETE FROM schedule WHERE tenant = $1 AND name = $2

-- ---- existence.py ----

-- name: existence_get
SELECT found, size, seen FROM existence WHERE bucket = $1 AND key = $2 AND (expires IS NULL OR expires > $3)

-- name: existence_put
INSERT INTO existence (bucket, key, found, size, seen, expires) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (bucket, key) DO UPDATE SET found = excluded.found, size = excluded.size, seen = excluded.seen,
    expires = excluded.expires WHERE excluded.seen >= existence.seen

-- name: existence_put postgres
INSERT INTO existence (bucket, key, found, size, seen, expires)
SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::double precision[],
    $6::double precision[])
ON CONFLICT (bucket, key) DO UPDATE SET found = excluded.found, size = excluded.size, seen = excluded.seen,
    expires = excluded.expires WHERE excluded.seen >= existence.seen

-- name: existence_drop
DELETE FROM existence WHERE bucket = $1 AND key = $2

-- ---- audit.py ----

-- name: audit_new
INSERT INTO audit (time, tenant, who, verb, target, detail) VALUES ($1, $2, $3, $4, $5, $6)

-- name: audit_columns
SELECT number, time, tenant, who, verb, target, detail FROM audit

-- ---- thinning.py ----

-- name: thin_files
SELECT id FROM job WHERE status IN ('completed', 'failed', 'cancelled') AND thinned = 0 AND files > 0 AND ended < $1
ORDER BY id LIMIT $2

-- name: thin_jobs
SELECT id FROM job WHERE status IN ('completed', 'failed', 'cancelled') AND ended < $1 ORDER BY id LIMIT $2

-- name: thin_tenants
SELECT tenant, count(*) FROM job WHERE status IN ('completed', 'failed', 'cancelled') GROUP BY tenant
HAVING count(*) > $1

-- name: thin_most
SELECT id FROM job WHERE status IN ('completed', 'failed', 'cancelled') AND tenant = $1 ORDER BY id LIMIT $2

-- name: thin_file
DELETE FROM file WHERE job = $1 AND number >= $2 AND number < $3 AND NOT (status = 3 AND $4 = 1)

-- name: thin_file_left
SELECT min(number) FROM file WHERE job = $1 AND number >= $2

-- name: thin_unit
DELETE FROM unit WHERE job = $1

-- name: thin_failure
DELETE FROM failure WHERE job = $1

-- name: thin_item
DELETE FROM item WHERE job = $1

-- name: thin_marked
UPDATE job SET thinned = 1 WHERE id = $1

-- name: thin_job
DELETE FROM job WHERE id = $1

-- name: thin_sessions
DELETE FROM session WHERE expires <= $1

-- name: thin_existence
DELETE FROM existence WHERE expires IS NOT NULL AND expires <= $1

-- name: thin_deeds
DELETE FROM audit WHERE time < $1
