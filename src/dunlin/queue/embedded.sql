-- The statements of the embedded queue, by name. Literals such as `status = 1` are what lets a partial index be used.

-- name: queue_new
INSERT OR IGNORE INTO queue (name) VALUES (?)

-- name: queue_put
UPDATE queue SET put = put + ?2 WHERE name = ?1

-- name: queue_done
UPDATE queue SET done = done + ?2 WHERE name = ?1

-- name: queue_failed
UPDATE queue SET failed = failed + 1 WHERE name = ?

-- name: queue_lost
UPDATE queue SET lost = lost + 1 WHERE name = ?

-- name: queue_pause
UPDATE queue SET paused = ?2 WHERE name = ?1

-- name: lane_new
INSERT OR IGNORE INTO lane (queue, name) VALUES (?, ?)

-- name: lane_id
SELECT id FROM lane WHERE name = ?

-- name: lane_ready
SELECT l.id, l.name FROM lane AS l JOIN queue AS q ON q.name = l.queue
WHERE NOT q.paused AND EXISTS (SELECT 1 FROM task AS t WHERE t.lane = l.id AND t.status = 0)

-- name: lane_leased
SELECT l.name, count(*) FROM task AS t JOIN lane AS l ON l.id = t.lane WHERE t.status = 1 GROUP BY t.lane

-- name: lane_empty
SELECT l.id FROM lane AS l WHERE NOT EXISTS (SELECT 1 FROM task AS t WHERE t.lane = l.id) LIMIT 1000

-- name: lane_drop
DELETE FROM lane WHERE id = ?

-- name: task_new
INSERT INTO task (lane, queue, key, status, rank, retries, created, due, size, label)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (queue, key) DO NOTHING RETURNING id, queue, key

-- name: body_new
INSERT INTO body (id, payload) VALUES (?, ?)

-- name: body_drop
DELETE FROM body WHERE id = ?

-- name: delayed_due
SELECT 1 FROM task WHERE status = 4 AND due <= ? LIMIT 1

-- name: delayed_ready
UPDATE task SET status = 0 WHERE status = 4 AND due <= ?

-- name: task_head
SELECT rank, id FROM task WHERE lane = ? AND status = 0 ORDER BY rank, id LIMIT ?

-- name: task_lease
UPDATE task SET status = 1, attempt = attempt + 1, used = used + 1, worker = ?2, due = ?3 WHERE id = ?1
RETURNING id, queue, key, (SELECT payload FROM body WHERE body.id = ?1), attempt, label

-- name: task_heartbeat
UPDATE task SET due = ?6 WHERE id = ?1 AND attempt = ?2 AND worker = ?3 AND queue = ?4 AND key = ?5 AND status = 1
RETURNING id, attempt, worker, queue, key

-- name: task_held
SELECT queue, key, worker, used, retries FROM task
WHERE id = ? AND attempt = ? AND worker = ? AND queue = ? AND key = ? AND status = 1

-- name: task_done
UPDATE task SET status = 3 WHERE id = ?1 AND attempt = ?2 AND worker = ?3 AND queue = ?4 AND key = ?5 AND status = 1
RETURNING id, attempt, worker, queue, key

-- name: task_release
UPDATE task SET status = 0, used = used - 1, worker = ''
WHERE id = ?1 AND attempt = ?2 AND worker = ?3 AND queue = ?4 AND key = ?5 AND status = 1

-- name: task_again
UPDATE task SET status = ?2, due = ?3, error = ?4, worker = '' WHERE id = ?1

-- name: task_dead
UPDATE task SET status = 2, error = ?2 WHERE id = ?1

-- name: task_over
UPDATE task SET status = 3, error = ?2 WHERE id = ?1

-- name: task_expired
SELECT id, queue, key, worker, attempt, used, retries FROM task WHERE status = 1 AND due <= ? LIMIT ?

-- name: task_known
SELECT key FROM task WHERE queue = ? AND key = ?

-- name: task_keyed
SELECT id FROM task WHERE queue = ? AND key = ? AND status <> 3

-- name: task_all
SELECT id FROM task WHERE queue = ? AND status <> 3

-- name: task_there
SELECT id FROM task WHERE id = ? AND status <> 3

-- name: task_remove
DELETE FROM task WHERE id = ?

-- name: task_revive
UPDATE task SET status = 0, used = 0, error = '', worker = '' WHERE id = ? AND status = 2 RETURNING id

-- name: task_one
SELECT id, queue, key, label, status, rank, attempt, retries, worker, error, created, due, size FROM task
WHERE id = ? AND status <> 3

-- name: body_one
SELECT payload FROM body WHERE id = ?

-- name: news_new
INSERT INTO news (number, queue, task, key, attempt, kind, body, error, worker)
VALUES (max(?, 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'news'), 0)), ?, ?, ?, ?, ?, ?, ?, ?)

-- name: news_page
SELECT number, key, attempt, kind, body, error, worker FROM news WHERE queue = ? AND number > ? ORDER BY number LIMIT ?

-- name: news_over
DELETE FROM task WHERE status = 3
AND id IN (SELECT task FROM news WHERE queue = ?1 AND number <= ?2 AND kind IN ('done', 'lost'))

-- name: news_confirm
DELETE FROM news WHERE queue = ? AND number <= ?

-- name: drop_bodies
DELETE FROM body WHERE id IN (SELECT id FROM task WHERE queue = ?)

-- name: stats_queues
SELECT q.name, (SELECT count(*) FROM news AS n WHERE n.queue = q.name), q.put, q.done, q.failed, q.lost, q.paused
FROM queue AS q ORDER BY q.name

-- name: stats_tasks
SELECT l.queue, t.status, count(*), min(t.id) FROM task AS t JOIN lane AS l ON l.id = t.lane GROUP BY t.lane, t.status

-- name: stats_created
SELECT created FROM task WHERE id = ?

-- name: cap_all
SELECT name, most FROM cap

-- name: cap_set
INSERT OR REPLACE INTO cap (name, most) VALUES (?, ?)

-- name: cap_drop
DELETE FROM cap WHERE name = ?

-- name: worker_hello
INSERT OR REPLACE INTO worker (name, host, pid, slots, busy, queues, labels, version, born, seen, until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: worker_leave
DELETE FROM worker WHERE name = ?

-- name: worker_all
SELECT name, host, pid, slots, busy, queues, labels, version, born, seen FROM worker WHERE until > ? ORDER BY name

-- name: board_set
INSERT OR REPLACE INTO board (name, value, until) VALUES (?, ?, ?)

-- name: board_drop
DELETE FROM board WHERE name = ?

-- name: board_get
SELECT value FROM board WHERE name = ?1 AND (until IS NULL OR until > ?2)

-- name: office_take
INSERT INTO office (name, owner, until) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET owner = ?2, until = ?3 WHERE owner = ?2 OR until <= ?4
RETURNING 1

-- name: office_leave
DELETE FROM office WHERE name = ? AND owner = ?

-- name: bucket_get
SELECT owed, at FROM bucket WHERE name = ?

-- name: bucket_set
INSERT OR REPLACE INTO bucket (name, owed, at) VALUES (?, ?, ?)

-- name: past
SELECT (SELECT count(*) FROM board WHERE until <= ?1) + (SELECT count(*) FROM office WHERE until <= ?1)
     + (SELECT count(*) FROM worker WHERE until <= ?1)
