-- The queue in PostgreSQL, schema 1. {schema} is `NAMESPACE_queue`. Times are by the server's clock_timestamp().
--   task.status   0 ready  1 leased  2 dead  3 over (its last news is not confirmed)  4 delayed
-- Names are stored as rules.py says.

CREATE TABLE {schema}.queue (
    name text PRIMARY KEY,
    paused boolean NOT NULL DEFAULT false,
    numbered bigint NOT NULL DEFAULT 0          -- the highest number that news of it has
);

-- totals, spread over rows: one row for a queue would make every commit wait for the one before
CREATE TABLE {schema}.tally (
    queue text NOT NULL,
    shard integer NOT NULL,
    put bigint NOT NULL DEFAULT 0,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    lost bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, shard)
) WITH (fillfactor = 50);

CREATE TABLE {schema}.lane (
    name text PRIMARY KEY,                      -- queue, host, groups: rules.lane
    queue text NOT NULL,
    host text NOT NULL,
    groups text[] NOT NULL
);

CREATE TABLE {schema}.task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    due timestamptz NOT NULL,                   -- when it is ready, or its lease ends
    created timestamptz NOT NULL,
    rank integer NOT NULL,                      -- lower ones come first: rules.py
    attempt integer NOT NULL DEFAULT 0,
    used integer NOT NULL DEFAULT 0,            -- deliveries that count
    retries integer NOT NULL,
    size integer NOT NULL,
    status smallint NOT NULL,
    lane text NOT NULL,
    queue text NOT NULL,
    key text NOT NULL,
    label text NOT NULL,
    worker text NOT NULL DEFAULT '',
    error text NOT NULL DEFAULT '',
    payload bytea NOT NULL,
    UNIQUE (queue, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE {schema}.task ALTER payload SET STORAGE EXTERNAL;  -- packed already, as a rule
CREATE INDEX task_order ON {schema}.task (lane, rank, id) WHERE status = 0;
CREATE INDEX task_leased ON {schema}.task (due) INCLUDE (lane) WHERE status = 1;
CREATE INDEX task_dead ON {schema}.task (id) WHERE status = 2;
CREATE INDEX task_delayed ON {schema}.task (due) WHERE status = 4;

-- `number` is given by `collect`, one at a time for a queue. Given at the insert, a smaller number could become visible
-- after a larger one was confirmed, and be lost.
CREATE TABLE {schema}.news (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number bigint,
    task bigint NOT NULL,
    attempt integer NOT NULL,
    kind text NOT NULL,
    queue text NOT NULL,
    key text NOT NULL,
    error text NOT NULL,
    worker text NOT NULL,
    body bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE {schema}.news ALTER body SET STORAGE EXTERNAL;
CREATE INDEX news_numbered ON {schema}.news (queue, number) WHERE number IS NOT NULL;
CREATE INDEX news_fresh ON {schema}.news (queue, id) WHERE number IS NULL;

CREATE TABLE {schema}.cap (name text PRIMARY KEY, most integer NOT NULL);
CREATE TABLE {schema}.board (name text PRIMARY KEY, value bytea NOT NULL, until timestamptz);
CREATE TABLE {schema}.office (name text PRIMARY KEY, owner text NOT NULL, until timestamptz NOT NULL);

-- not logged: a crash of the server empties them, and they fill up by themselves
CREATE UNLOGGED TABLE {schema}.bucket (name text PRIMARY KEY, owed float8 NOT NULL, at timestamptz NOT NULL)
    WITH (fillfactor = 50);
CREATE UNLOGGED TABLE {schema}.worker (
    name text PRIMARY KEY,
    host text NOT NULL,
    pid bigint NOT NULL,
    slots integer NOT NULL,
    busy integer NOT NULL,
    queues text[] NOT NULL,
    labels text[] NOT NULL,
    version text NOT NULL,
    born timestamptz NOT NULL,
    seen timestamptz NOT NULL,
    until timestamptz NOT NULL
);

-- Functions, for one reason: each of their statements sees what was committed before it, so that leases which
-- were counted under the lock are all there are. They forbid plans that read whole tables: their plans are kept, and
-- may have been made when the tables were empty.
CREATE FUNCTION {schema}.lease(by_worker text, most integer, seconds float8, patterns text[], hosts text[])
RETURNS TABLE (id bigint, queue text, key text, payload bytea, attempt integer, label text)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT 1 FROM {schema}.cap) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.cap', 0));
    END IF;
    UPDATE {schema}.task SET status = 0 WHERE id IN (
        SELECT t.id FROM {schema}.task AS t WHERE t.status = 4 AND t.due <= (SELECT clock_timestamp())
        ORDER BY t.due LIMIT 1000 FOR UPDATE SKIP LOCKED
    );
    RETURN QUERY
    WITH room AS MATERIALIZED (
        SELECT c.name, c.most - (
            SELECT count(*) FROM {schema}.task AS t JOIN {schema}.lane AS l ON l.name = t.lane
            WHERE t.status = 1 AND c.name = ANY (l.groups)
        ) AS places FROM {schema}.cap AS c
    ), opened AS MATERIALIZED (
        -- no more of a lane than its fullest group has room for: what is over must not count against other lanes
        SELECT l.name, l.groups, least(most, (SELECT min(r.places) FROM room AS r WHERE r.name = ANY (l.groups))) AS most
        FROM {schema}.lane AS l JOIN {schema}.queue AS q ON q.name = l.queue
        WHERE NOT q.paused AND l.host = ANY (hosts)
          AND (patterns = '{}' OR EXISTS (
              SELECT 1 FROM unnest(patterns) AS p (word)
              WHERE l.queue = p.word OR (right(p.word, 1) = '*' AND starts_with(l.queue, left(p.word, -1)))
          ))
          AND NOT EXISTS (SELECT 1 FROM room AS r WHERE r.name = ANY (l.groups) AND r.places < 1)
    ), heads AS MATERIALIZED (
        SELECT o.groups, h.id, h.rank FROM opened AS o CROSS JOIN LATERAL (
            SELECT t.id, t.rank FROM {schema}.task AS t WHERE t.lane = o.name AND t.status = 0
            ORDER BY t.rank, t.id LIMIT o.most FOR UPDATE SKIP LOCKED
        ) AS h
    ), places AS (
        SELECT h.id, g.name, row_number() OVER (PARTITION BY g.name ORDER BY h.rank, h.id) AS place
        FROM heads AS h CROSS JOIN LATERAL unnest(h.groups) AS g (name) WHERE EXISTS (SELECT 1 FROM room)
    ), chosen AS (
        SELECT h.id FROM heads AS h WHERE h.id <> ALL (ARRAY(
            SELECT p.id FROM places AS p JOIN room AS r ON r.name = p.name WHERE p.place > r.places
        )) ORDER BY h.rank, h.id LIMIT most
    ), taken AS (
        UPDATE {schema}.task AS t SET status = 1, attempt = t.attempt + 1, used = t.used + 1, worker = by_worker,
            due = clock_timestamp() + make_interval(secs => seconds)
        FROM chosen AS c WHERE t.id = c.id
        RETURNING t.rank, t.id, t.queue, t.key, t.payload, t.attempt, t.label
    )
    SELECT t.id, t.queue, t.key, t.payload, t.attempt, t.label FROM taken AS t ORDER BY t.rank, t.id;
END $$;

CREATE FUNCTION {schema}.collect(of_queue text, most integer, behind bigint)
RETURNS TABLE (number bigint, key text, attempt integer, kind text, body bytea, error text, worker text)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    IF EXISTS (SELECT 1 FROM {schema}.news AS n WHERE n.queue = of_queue AND n.number IS NULL) THEN
        PERFORM 1 FROM {schema}.queue AS q WHERE q.name = of_queue FOR UPDATE;
        WITH fresh AS MATERIALIZED (
            SELECT f.id, row_number() OVER (ORDER BY f.id) AS place FROM (
                SELECT n.id FROM {schema}.news AS n WHERE n.queue = of_queue AND n.number IS NULL
                ORDER BY n.id LIMIT greatest(most, 1000)
            ) AS f
        ), ended AS (
            UPDATE {schema}.queue AS q SET numbered = (SELECT count(*) FROM fresh)
                + greatest(q.numbered, floor(1000000 * extract(epoch FROM clock_timestamp()))::bigint)
            WHERE q.name = of_queue RETURNING q.numbered
        )
        UPDATE {schema}.news AS n SET number = e.numbered - (SELECT count(*) FROM fresh) + f.place
        FROM fresh AS f, ended AS e WHERE n.id = f.id;
    END IF;
    RETURN QUERY SELECT n.number, n.key, n.attempt, n.kind, n.body, n.error, n.worker FROM {schema}.news AS n
    WHERE n.queue = of_queue AND n.number > behind ORDER BY n.number LIMIT most;
END $$;

CREATE TABLE {schema}.version (number integer NOT NULL);
INSERT INTO {schema}.version VALUES (1);
