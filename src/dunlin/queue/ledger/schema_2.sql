-- From schema 1 to 2: whose paths a job names.

ALTER TABLE job ADD COLUMN host text NOT NULL DEFAULT '';
ALTER TABLE schedule ADD COLUMN host text NOT NULL DEFAULT '';
