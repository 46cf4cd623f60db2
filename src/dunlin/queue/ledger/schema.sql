-- dunlin's ledger: schema 2, the newest as a whole, for SQLite and PostgreSQL.
--
-- A comment that begins with the name of an engine is read by that engine alone. Times are seconds since 1970, flags are
-- 0 and 1, ids of jobs are numbers whose text form is base 32 (ids.py), text that may be any name is escaped (rules.py).
-- Foreign keys are left out: a row of files costs what its two trees cost, and jobs are dropped in pieces (thinning.py).

CREATE TABLE tenant (
    name text /*postgres COLLATE "C"*/ NOT NULL PRIMARY KEY,
    settings text NOT NULL,  -- JSON: allowed_roots, allowed_prefixes, caps
    created double precision NOT NULL
);

CREATE TABLE account (
    name text /*postgres COLLATE "C"*/ NOT NULL PRIMARY KEY,
    role text NOT NULL,
    tenant text NOT NULL,
    password text NOT NULL,  -- scrypt$n$r$p$salt$digest (passwords.py)
    created double precision NOT NULL
);

CREATE TABLE api_key (
    id text /*postgres COLLATE "C"*/ NOT NULL PRIMARY KEY,
    digest bytea NOT NULL,  -- SHA-256 of the secret
    label text NOT NULL,
    role text NOT NULL,
    tenant text NOT NULL,
    created_by text NOT NULL,
    created double precision NOT NULL,
    last_used double precision,
    revoked double precision
);

CREATE TABLE session (
    digest bytea NOT NULL PRIMARY KEY,  -- SHA-256 of the token
    account text NOT NULL,
    csrf text NOT NULL,
    created double precision NOT NULL,
    expires double precision NOT NULL
);

CREATE TABLE job (
    id bigint NOT NULL PRIMARY KEY,
    kind text NOT NULL,
    tenant text NOT NULL,
    created_by text NOT NULL,
    label text NOT NULL,
    status text NOT NULL,
    options text NOT NULL,
    result text NOT NULL,
    counts text NOT NULL,
    error text NOT NULL,
    created double precision NOT NULL,
    started double precision,
    ended double precision,
    priority integer NOT NULL,
    key text NOT NULL,
    body bytea NOT NULL,        -- SHA-256 of the request
    owner text NOT NULL,
    held double precision,      -- until when its owner has it
    wish text NOT NULL,
    files bigint NOT NULL,      -- file numbers given so far
    units bigint NOT NULL,      -- unit numbers given so far
    thinned smallint NOT NULL,  -- its files were dropped
    host text NOT NULL DEFAULT ''  -- the label of the machine whose paths it names; '': any machine's
);
CREATE UNIQUE INDEX job_key ON job (tenant, key) WHERE key <> '';
CREATE INDEX job_tenant ON job (tenant, id);
CREATE INDEX job_status ON job (status, id);
CREATE INDEX job_queue ON job (priority DESC, id) WHERE status = 'queued';

CREATE TABLE item (
    job bigint NOT NULL,
    number integer NOT NULL,
    source text NOT NULL,
    target text NOT NULL,
    delete_after_sync smallint NOT NULL,
    overwrite smallint NOT NULL,
    total_files bigint NOT NULL,
    total_bytes bigint NOT NULL,
    uploaded bigint NOT NULL,
    skipped bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    uploaded_bytes bigint NOT NULL,
    walked smallint NOT NULL,
    error text NOT NULL,
    PRIMARY KEY (job, number)
) /*sqlite WITHOUT ROWID*/ /*postgres WITH (fillfactor = 50)*/;

-- The files of a unit are `first` and those after it, or the numbers in `members` (JSON).
CREATE TABLE unit (
    job bigint NOT NULL,
    number bigint NOT NULL,
    item integer NOT NULL,      -- of all its files; -1: they differ
    first bigint NOT NULL,
    files integer NOT NULL,
    members text,
    attempt integer NOT NULL,
    status smallint NOT NULL,
    reported integer NOT NULL,
    tries integer NOT NULL,
    PRIMARY KEY (job, number)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX unit_open ON unit (job, number) WHERE status = 0;

-- No index has a column that a result changes: PostgreSQL then writes the new row beside the old one and leaves the
-- indexes alone (a heap-only tuple), for which half of each page is kept free.
CREATE TABLE file (
    job bigint NOT NULL,
    number bigint NOT NULL,
    item integer NOT NULL,
    unit bigint NOT NULL,       -- whose results count for it; -1: none's
    size bigint NOT NULL,
    status smallint NOT NULL,
    attempt integer NOT NULL,
    updated double precision NOT NULL,
    worker text,
    path text /*postgres COLLATE "C"*/ NOT NULL,  -- its beginning and a digest, when it is very long
    long text,                                    -- all of it, then
    key text NOT NULL,
    PRIMARY KEY (job, number)
) /*sqlite WITHOUT ROWID*/ /*postgres WITH (fillfactor = 50)*/;
CREATE UNIQUE INDEX file_path ON file (job, item, path);

CREATE TABLE failure (
    job bigint NOT NULL,
    number bigint NOT NULL,
    error text NOT NULL,
    updated double precision NOT NULL,
    PRIMARY KEY (job, number)
) /*sqlite WITHOUT ROWID*/;

CREATE TABLE schedule (
    tenant text /*postgres COLLATE "C"*/ NOT NULL,
    name text /*postgres COLLATE "C"*/ NOT NULL,
    kind text NOT NULL,
    options text NOT NULL,
    cron text NOT NULL,
    span double precision NOT NULL,
    zone text NOT NULL,
    enabled smallint NOT NULL,
    may_overlap smallint NOT NULL,
    label text NOT NULL,
    priority integer NOT NULL,
    created_by text NOT NULL,
    created double precision NOT NULL,
    last_run double precision,
    last_job bigint,
    next_run double precision,
    passed_over bigint NOT NULL,
    host text NOT NULL DEFAULT '',  -- of its jobs
    PRIMARY KEY (tenant, name)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX schedule_next ON schedule (next_run) WHERE next_run IS NOT NULL;

CREATE TABLE existence (
    bucket text NOT NULL,
    key text NOT NULL,
    found smallint NOT NULL,
    size bigint NOT NULL,
    seen double precision NOT NULL,
    expires double precision,
    PRIMARY KEY (bucket, key)
) /*sqlite WITHOUT ROWID*/;
CREATE INDEX existence_expires ON existence (expires) WHERE expires IS NOT NULL;

CREATE TABLE audit (
    number /*sqlite INTEGER PRIMARY KEY AUTOINCREMENT*/ /*postgres bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY*/,
    time double precision NOT NULL,
    tenant text NOT NULL,
    who text NOT NULL,
    verb text NOT NULL,
    target text NOT NULL,
    detail text NOT NULL
);
CREATE INDEX audit_tenant ON audit (tenant, number);
CREATE INDEX audit_time ON audit (time);
