-- from schema 2: what live views read

ALTER TABLE run ADD COLUMN life TEXT NOT NULL DEFAULT '{}';
ALTER TABLE metric ADD COLUMN iowait REAL;
ALTER TABLE metric ADD COLUMN busy REAL;
ALTER TABLE metric ADD COLUMN used REAL;
ALTER TABLE metric ADD COLUMN wanted INTEGER;
ALTER TABLE metric ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE metric ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE metric ADD COLUMN bandwidth INTEGER NOT NULL DEFAULT 0;
ALTER TABLE metric ADD COLUMN pending_files INTEGER;
ALTER TABLE metric ADD COLUMN pending_bytes INTEGER;
ALTER TABLE metric ADD COLUMN seconds INTEGER NOT NULL DEFAULT 0;
CREATE INDEX metric_seconds ON metric (seconds, time);
ALTER TABLE event ADD COLUMN size INTEGER;
ALTER TABLE event ADD COLUMN number INTEGER NOT NULL DEFAULT 1;
CREATE INDEX event_minor ON event (id) WHERE level < 30;

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
