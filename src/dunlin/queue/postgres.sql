-- The statements of the queue in PostgreSQL, by name. {schema} is replaced by the schema's name. A volatile function
-- serves no index; (SELECT clock_timestamp()) is asked once, and does.

-- name: put
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        %(queues)s::text[], %(keys)s::text[], %(lanes)s::text[], %(payloads)s::bytea[], %(weights)s::bigint[],
        %(delays)s::float8[], %(retries)s::integer[], %(labels)s::text[]
    ) WITH ORDINALITY AS g (queue, key, lane, payload, weight, delay, retries, label, place)
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), queues AS (
    INSERT INTO {schema}.queue (name) SELECT DISTINCT queue FROM given ORDER BY 1 ON CONFLICT DO NOTHING
), lanes AS (
    INSERT INTO {schema}.lane (name, queue, host, groups)
    SELECT DISTINCT lane, split_part(lane, E'\x1f', 1), split_part(lane, E'\x1f', 2),
        (string_to_array(lane, E'\x1f'))[3:]
    FROM given ORDER BY 1 ON CONFLICT DO NOTHING
), added AS (
    INSERT INTO {schema}.task (lane, queue, key, status, rank, retries, created, due, size, label, payload)
    SELECT lane, queue, key, CASE WHEN delay > 0 THEN 4 ELSE 0 END, weight + floor(extract(epoch FROM at)), retries, at,
        at + make_interval(secs => greatest(delay, 0)), length(payload), label, payload
    FROM given CROSS JOIN moment ORDER BY place ON CONFLICT (queue, key) DO NOTHING RETURNING queue
), tally AS (
    INSERT INTO {schema}.tally AS t (queue, shard, put)
    SELECT queue, mod(pg_backend_pid(), 64), count(*) FROM added GROUP BY queue ORDER BY queue
    ON CONFLICT (queue, shard) DO UPDATE SET put = t.put + excluded.put
)
SELECT count(*) FROM added

-- name: collect
SELECT * FROM {schema}.collect(%(queue)s, %(count)s, %(after)s)

-- name: confirm
WITH told AS (
    DELETE FROM {schema}.news WHERE queue = %(queue)s AND number <= %(upto)s RETURNING task, kind
)
DELETE FROM {schema}.task WHERE status = 3 AND id IN (SELECT task FROM told WHERE kind IN ('done', 'lost'))

-- name: known
SELECT key FROM {schema}.task WHERE queue = %(queue)s AND key = ANY (%(keys)s::text[])

-- name: cancel
DELETE FROM {schema}.task WHERE queue = %(queue)s AND key = ANY (%(keys)s::text[]) AND status <> 3

-- name: cancel_all
DELETE FROM {schema}.task WHERE queue = %(queue)s AND status <> 3

-- name: drop
WITH tasks AS (DELETE FROM {schema}.task WHERE queue = %(queue)s),
    news AS (DELETE FROM {schema}.news WHERE queue = %(queue)s),
    tally AS (DELETE FROM {schema}.tally WHERE queue = %(queue)s),
    lanes AS (DELETE FROM {schema}.lane WHERE queue = %(queue)s)
DELETE FROM {schema}.queue WHERE name = %(queue)s

-- name: lease
SELECT * FROM {schema}.lease(%(worker)s, %(count)s, %(seconds)s, %(queues)s::text[], %(hosts)s::text[])

-- name: heartbeat
UPDATE {schema}.task AS t SET due = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM unnest(%(ids)s::bigint[], %(attempts)s::integer[], %(workers)s::text[], %(queues)s::text[], %(keys)s::text[])
    AS g (id, attempt, worker, queue, key)
WHERE t.id = g.id AND t.attempt = g.attempt AND t.worker = g.worker AND t.queue = g.queue AND t.key = g.key
  AND t.status = 1
RETURNING t.id, t.attempt, t.worker, t.queue, t.key

-- name: tell
WITH held AS (
    SELECT id, queue, key, worker FROM {schema}.task
    WHERE id = %(id)s AND attempt = %(attempt)s AND worker = %(worker)s AND queue = %(queue)s AND key = %(key)s
      AND status = 1 FOR UPDATE
)
INSERT INTO {schema}.news (task, attempt, kind, queue, key, error, worker, body)
SELECT id, %(attempt)s, 'part', queue, key, '', worker, %(body)s FROM held

-- name: ack
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::integer[], %(workers)s::text[], %(queues)s::text[], %(keys)s::text[],
        %(bodies)s::bytea[]
    ) WITH ORDINALITY AS g (id, attempt, worker, queue, key, body, place)
), over AS (
    UPDATE {schema}.task AS t SET status = 3, payload = '' FROM given AS g
    WHERE t.id = g.id AND t.attempt = g.attempt AND t.worker = g.worker AND t.queue = g.queue AND t.key = g.key
      AND t.status = 1
    RETURNING t.id, t.attempt, t.queue, t.key, t.worker, g.body, g.place
), told AS (
    INSERT INTO {schema}.news (task, attempt, kind, queue, key, error, worker, body)
    SELECT id, attempt, 'done', queue, key, '', worker, body FROM over ORDER BY place
), tally AS (
    INSERT INTO {schema}.tally AS t (queue, shard, done)
    SELECT queue, mod(pg_backend_pid(), 64), count(*) FROM over GROUP BY queue ORDER BY queue
    ON CONFLICT (queue, shard) DO UPDATE SET done = t.done + excluded.done
)
SELECT id, attempt, worker, queue, key FROM over

-- name: nack
WITH held AS (
    SELECT id, queue, key, worker, used > retries OR %(final)s AS dead FROM {schema}.task
    WHERE id = %(id)s AND attempt = %(attempt)s AND worker = %(worker)s AND queue = %(queue)s AND key = %(key)s
      AND status = 1 FOR UPDATE
), moved AS (
    UPDATE {schema}.task AS t SET error = %(error)s, worker = CASE WHEN h.dead THEN h.worker ELSE '' END,
        status = CASE WHEN h.dead THEN 2 WHEN %(delay)s > 0 THEN 4 ELSE 0 END,
        due = clock_timestamp() + make_interval(secs => %(delay)s)
    FROM held AS h WHERE t.id = h.id RETURNING t.id
), told AS (
    INSERT INTO {schema}.news (task, attempt, kind, queue, key, error, worker, body)
    SELECT id, %(attempt)s, 'dead', queue, key, %(error)s, worker, '' FROM held WHERE dead
), tally AS (
    INSERT INTO {schema}.tally AS t (queue, shard, failed) SELECT queue, mod(pg_backend_pid(), 64), 1 FROM held
    ON CONFLICT (queue, shard) DO UPDATE SET failed = t.failed + 1
)
SELECT count(*) FROM moved

-- name: release
UPDATE {schema}.task AS t SET status = 0, used = t.used - 1, worker = ''
FROM unnest(%(ids)s::bigint[], %(attempts)s::integer[], %(workers)s::text[], %(queues)s::text[], %(keys)s::text[])
    AS g (id, attempt, worker, queue, key)
WHERE t.id = g.id AND t.attempt = g.attempt AND t.worker = g.worker AND t.queue = g.queue AND t.key = g.key
  AND t.status = 1

-- name: hello
INSERT INTO {schema}.worker (name, host, pid, slots, busy, queues, labels, version, born, seen, until)
VALUES (%(worker)s, %(host)s, %(pid)s, %(slots)s, %(busy)s, %(queues)s::text[], %(labels)s::text[], %(version)s,
    clock_timestamp() - make_interval(secs => %(age)s), clock_timestamp(),
    clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (name) DO UPDATE SET host = excluded.host, pid = excluded.pid, slots = excluded.slots,
    busy = excluded.busy, queues = excluded.queues, labels = excluded.labels, version = excluded.version,
    born = excluded.born, seen = excluded.seen, until = excluded.until

-- name: goodbye
DELETE FROM {schema}.worker WHERE name = %(worker)s

-- name: sweep
WITH expired AS MATERIALIZED (
    SELECT id, queue, key, worker, attempt, used > retries AS spent, retries = 0 AS owners FROM {schema}.task
    WHERE status = 1 AND due <= (SELECT clock_timestamp()) ORDER BY due LIMIT %(count)s FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE {schema}.task AS t SET due = clock_timestamp(), error = 'the lease of ' || e.worker || ' ran out',
        worker = CASE WHEN e.spent THEN e.worker ELSE '' END,
        status = CASE WHEN NOT e.spent THEN 0 WHEN e.owners THEN 3 ELSE 2 END,
        payload = CASE WHEN e.spent AND e.owners THEN '' ELSE t.payload END
    FROM expired AS e WHERE t.id = e.id RETURNING t.id
), told AS (
    INSERT INTO {schema}.news (task, attempt, kind, queue, key, error, worker, body)
    SELECT id, attempt, CASE WHEN owners THEN 'lost' ELSE 'dead' END, queue, key,
        CASE WHEN owners THEN worker ELSE 'the lease of ' || worker || ' ran out' END, worker, ''
    FROM expired WHERE spent
), tally AS (
    INSERT INTO {schema}.tally AS t (queue, shard, lost)
    SELECT queue, mod(pg_backend_pid(), 64), count(*) FROM expired GROUP BY queue ORDER BY queue
    ON CONFLICT (queue, shard) DO UPDATE SET lost = t.lost + excluded.lost
)
SELECT count(*) FROM moved

-- name: tidy
WITH boards AS (DELETE FROM {schema}.board WHERE until <= clock_timestamp()),
    offices AS (DELETE FROM {schema}.office WHERE until <= clock_timestamp())
DELETE FROM {schema}.worker WHERE until <= clock_timestamp()

-- name: stats
SELECT q.name,
    coalesce(s.ready, 0), coalesce(s.delayed, 0), coalesce(s.leased, 0), coalesce(s.dead, 0), coalesce(n.news, 0),
    coalesce(y.put, 0)::bigint, coalesce(y.done, 0)::bigint, coalesce(y.failed, 0)::bigint, coalesce(y.lost, 0)::bigint,
    coalesce(greatest(extract(epoch FROM clock_timestamp() - s.oldest), 0), 0)::float8, q.paused
FROM {schema}.queue AS q
LEFT JOIN (
    SELECT queue, count(*) FILTER (WHERE status = 0) AS ready, count(*) FILTER (WHERE status = 4) AS delayed,
        count(*) FILTER (WHERE status = 1) AS leased, count(*) FILTER (WHERE status = 2) AS dead,
        min(created) FILTER (WHERE status IN (0, 4)) AS oldest
    FROM {schema}.task GROUP BY queue
) AS s ON s.queue = q.name
LEFT JOIN (SELECT queue, count(*) AS news FROM {schema}.news GROUP BY queue) AS n ON n.queue = q.name
LEFT JOIN (
    SELECT queue, sum(put) AS put, sum(done) AS done, sum(failed) AS failed, sum(lost) AS lost
    FROM {schema}.tally GROUP BY queue
) AS y ON y.queue = q.name
ORDER BY q.name COLLATE "C"

-- name: tasks
SELECT id, queue, key, label, status, (floor(extract(epoch FROM created)) - rank)::bigint, attempt, retries, worker, error,
    greatest(extract(epoch FROM clock_timestamp() - created), 0)::float8,
    CASE WHEN status IN (1, 4) THEN extract(epoch FROM due - clock_timestamp()) ELSE 0 END::float8, size
FROM {schema}.task
WHERE id > %(after)s AND status = ANY (%(statuses)s::smallint[])
  AND (%(queue)s = '' OR queue = %(queue)s)
  AND (%(search)s = '' OR position(%(search)s IN key) > 0 OR position(%(search)s IN label) > 0)
ORDER BY id LIMIT %(count)s

-- name: task
SELECT id, queue, key, label, status, (floor(extract(epoch FROM created)) - rank)::bigint, attempt, retries, worker, error,
    greatest(extract(epoch FROM clock_timestamp() - created), 0)::float8,
    CASE WHEN status IN (1, 4) THEN extract(epoch FROM due - clock_timestamp()) ELSE 0 END::float8, size, payload
FROM {schema}.task WHERE id = %(id)s AND status <> 3

-- name: revive
UPDATE {schema}.task SET status = 0, used = 0, error = '', worker = ''
WHERE id = ANY (%(ids)s::bigint[]) AND status = 2

-- name: remove
DELETE FROM {schema}.task WHERE id = ANY (%(ids)s::bigint[]) AND status <> 3

-- name: pause
INSERT INTO {schema}.queue (name, paused) VALUES (%(queue)s, %(paused)s)
ON CONFLICT (name) DO UPDATE SET paused = excluded.paused

-- name: cap
INSERT INTO {schema}.cap (name, most) VALUES (%(group)s, %(most)s) ON CONFLICT (name) DO UPDATE SET most = excluded.most

-- name: uncap
DELETE FROM {schema}.cap WHERE name = %(group)s

-- name: workers
SELECT name, host, pid, slots, busy, queues, labels, version,
    greatest(extract(epoch FROM clock_timestamp() - born), 0)::float8,
    greatest(extract(epoch FROM clock_timestamp() - seen), 0)::float8
FROM {schema}.worker WHERE until > clock_timestamp() ORDER BY name COLLATE "C"

-- name: write
INSERT INTO {schema}.board (name, value, until)
VALUES (%(name)s, %(value)s, CASE WHEN %(seconds)s > 0 THEN clock_timestamp() + make_interval(secs => %(seconds)s) END)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, until = excluded.until

-- name: forget
DELETE FROM {schema}.board WHERE name = %(name)s

-- name: read
SELECT value FROM {schema}.board WHERE name = %(name)s AND (until IS NULL OR until > clock_timestamp())

-- name: hold
INSERT INTO {schema}.office AS o (name, owner, until)
VALUES (%(name)s, %(owner)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE o.owner = excluded.owner OR o.until <= clock_timestamp()
RETURNING 1

-- name: leave
DELETE FROM {schema}.office WHERE name = %(name)s AND owner = %(owner)s

-- name: draw
INSERT INTO {schema}.bucket AS b (name, owed, at) VALUES (%(name)s, %(amount)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET at = excluded.at, owed = excluded.owed + greatest(
    0, b.owed - greatest(0, extract(epoch FROM excluded.at - b.at)) * %(rate)s)
RETURNING (greatest(0, owed - %(burst)s) / %(rate)s)::float8
