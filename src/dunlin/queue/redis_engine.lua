-- The scripts of the queue in Redis, by name; `common` goes before each. KEYS[1] is the prefix of all keys, with a hash
-- tag, so that they lie in one slot of a cluster. Times are ms of the server's clock, ids and members as rules.py says.
--
--   seq               the last id                       queues             names of queues (set)
--   queue:Q           paused, numbered, totals, counts  keys:Q             key -> id, also of tasks that are over
--   task:ID           a task (hash)                     all, dead          ids, in order (sorted by name)
--   ready:LANE        rank and id, in order             lanes:Q            lanes with ready tasks (set)
--   waiting:Q         ids, ready and delayed, in order  leased, delayed    ids by when they are due
--   group, cap        name -> tasks leased, most        news:Q             stream; an entry's number is its id
--   over:Q            number -> id, key of news that ends a task
--
--   task.status       0 ready  1 leased  2 dead  4 delayed; what is over has no task, only its key

-- name: common
local P = KEYS[1]

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(n) return string.format('%.0f', n) end

local function split(lane)
  local parts = {}
  for part in string.gmatch(lane .. '\31', '([^\31]*)\31') do parts[#parts + 1] = part end
  return parts
end

local FIELDS = {'queue', 'key', 'lane', 'rank', 'attempt', 'used', 'retries', 'status', 'worker'}

local function load(id)
  local values = redis.call('HMGET', P .. 'task:' .. id, unpack(FIELDS))
  if not values[1] then return nil end
  local task = {id = id}
  for i, field in ipairs(FIELDS) do task[field] = values[i] end
  for _, field in ipairs({'attempt', 'used', 'retries', 'status'}) do task[field] = tonumber(task[field]) end
  return task
end

-- The task of a lease; `at`: where its words begin in ARGV (`_fences`).
local function held(at)
  local id, attempt, worker, queue, key = unpack(ARGV, at, at + 4)
  local task = load(id)
  if task and task.status == 1 and task.attempt == tonumber(attempt) and task.worker == worker
      and task.queue == queue and task.key == key then return task end
  return nil
end

local function groups(task, by)
  for i, part in ipairs(split(task.lane)) do
    if i > 2 and redis.call('HINCRBY', P .. 'group', part, by) <= 0 then redis.call('HDEL', P .. 'group', part) end
  end
end

local function count(task, what, by) redis.call('HINCRBY', P .. 'queue:' .. task.queue, what, by) end

-- Take a task out of all that its status has put it into.
local function leave(task)
  if task.status == 0 then
    local ready = P .. 'ready:' .. task.lane
    redis.call('ZREM', ready, task.rank .. task.id)
    if redis.call('EXISTS', ready) == 0 then redis.call('SREM', P .. 'lanes:' .. task.queue, task.lane) end
    redis.call('ZREM', P .. 'waiting:' .. task.queue, task.id)
  elseif task.status == 1 then
    redis.call('ZREM', P .. 'leased', task.id)
    count(task, 'leased', -1)
    groups(task, -1)
  elseif task.status == 2 then
    redis.call('ZREM', P .. 'dead', task.id)
    count(task, 'dead', -1)
  elseif task.status == 4 then
    redis.call('ZREM', P .. 'delayed', task.id)
    count(task, 'delayed', -1)
    redis.call('ZREM', P .. 'waiting:' .. task.queue, task.id)
  end
end

-- The inverse; `...` are further fields of the task and their values.
local function enter(task, status, due, ...)
  task.status = status
  redis.call('HSET', P .. 'task:' .. task.id, 'status', status, 'due', text(due), ...)
  if status == 0 then
    redis.call('ZADD', P .. 'ready:' .. task.lane, 0, task.rank .. task.id)
    redis.call('SADD', P .. 'lanes:' .. task.queue, task.lane)
    redis.call('ZADD', P .. 'waiting:' .. task.queue, 0, task.id)
  elseif status == 1 then
    redis.call('ZADD', P .. 'leased', text(due), task.id)
    count(task, 'leased', 1)
    groups(task, 1)
  elseif status == 2 then
    redis.call('ZADD', P .. 'dead', 0, task.id)
    count(task, 'dead', 1)
  elseif status == 4 then
    redis.call('ZADD', P .. 'delayed', text(due), task.id)
    count(task, 'delayed', 1)
    redis.call('ZADD', P .. 'waiting:' .. task.queue, 0, task.id)
  end
end

-- Remove a task; its key stays where news of its end does.
local function remove(task, over)
  leave(task)
  redis.call('DEL', P .. 'task:' .. task.id)
  redis.call('ZREM', P .. 'all', task.id)
  if not over then redis.call('HDEL', P .. 'keys:' .. task.queue, task.key) end
end

local function tell(task, kind, body, err)
  local time, hash = redis.call('TIME'), P .. 'queue:' .. task.queue
  local last = tonumber(redis.call('HGET', hash, 'numbered') or 0)
  local number = text(math.max(last + 1, tonumber(time[1]) * 1000000 + tonumber(time[2])))
  redis.call('HSET', hash, 'numbered', number)
  redis.call('XADD', P .. 'news:' .. task.queue, number .. '-0', 'key', task.key, 'attempt', task.attempt,
    'kind', kind, 'body', body, 'error', err, 'worker', task.worker)
  if kind == 'done' or kind == 'lost' then
    redis.call('ZADD', P .. 'over:' .. task.queue, number, task.id .. '\31' .. task.key)
  end
end

local function die(task, err)
  leave(task)
  enter(task, 2, now(), 'error', err)
  tell(task, 'dead', '', err)
end

-- The second in which a task was put, less its rank; of a row of `tasks` or `task`.
local function lead(row) return text(math.floor(tonumber(row[10]) / 1000) - (tonumber(row[5], 16) - 2147483648)) end

local function promote()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', text(now()), 'LIMIT', 0, 1000)) do
    local task = load(id)
    leave(task)
    enter(task, 0, now())
  end
end

-- name: put
local new, at = 0, now()
for i = 1, #ARGV, 8 do
  local queue, key, lane, payload, weight, delay, retries, label = unpack(ARGV, i, i + 7)
  local rank = string.format('%08x', tonumber(weight) + math.floor(at / 1000))
  redis.call('SADD', P .. 'queues', queue)
  if redis.call('HEXISTS', P .. 'keys:' .. queue, key) == 0 then
    local id = string.format('%015x', redis.call('INCR', P .. 'seq'))
    local task = {id = id, queue = queue, key = key, lane = lane, rank = rank}
    redis.call('HSET', P .. 'keys:' .. queue, key, id)
    redis.call('ZADD', P .. 'all', 0, id)
    delay = tonumber(delay)
    enter(task, delay > 0 and 4 or 0, at + delay, 'queue', queue, 'key', key, 'lane', lane, 'payload', payload,
      'rank', rank, 'attempt', 0, 'used', 0, 'retries', retries, 'label', label, 'worker', '', 'error', '',
      'created', text(at), 'size', #payload)
    count(task, 'put', 1)
    new = new + 1
  end
end
return new

-- name: confirm
local queue, upto = ARGV[1], ARGV[2]
local over = P .. 'over:' .. queue
for _, member in ipairs(redis.call('ZRANGEBYSCORE', over, '-inf', upto)) do
  local id, key = string.sub(member, 1, 15), string.sub(member, 17)
  if redis.call('HGET', P .. 'keys:' .. queue, key) == id then redis.call('HDEL', P .. 'keys:' .. queue, key) end
end
redis.call('ZREMRANGEBYSCORE', over, '-inf', upto)
redis.call('XTRIM', P .. 'news:' .. queue, 'MINID', text(tonumber(upto) + 1))

-- name: drop
local queue = ARGV[1]
for _, what in ipairs({'keys:', 'news:', 'over:', 'queue:', 'waiting:', 'lanes:'}) do
  redis.call('DEL', P .. what .. queue)
end
redis.call('SREM', P .. 'queues', queue)

-- name: lease
local worker, most, ms, patterns = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local hosts = {}
for i = 5 + patterns, #ARGV do hosts[ARGV[i]] = true end

local function wanted(queue)
  for i = 5, 4 + patterns do
    local word = ARGV[i]
    if word == queue then return true end
    if string.sub(word, -1) == '*' and string.sub(queue, 1, #word - 1) == string.sub(word, 1, -2) then return true end
  end
  return patterns == 0
end

local caps, room = redis.call('HGETALL', P .. 'cap'), {}
for i = 1, #caps, 2 do room[caps[i]] = tonumber(caps[i + 1]) - tonumber(redis.call('HGET', P .. 'group', caps[i]) or 0) end

local function free(parts)
  for i = 3, #parts do
    if room[parts[i]] and room[parts[i]] < 1 then return false end
  end
  return true
end

promote()
local heads, lanes = {}, 0
for _, queue in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
  if wanted(queue) and redis.call('HGET', P .. 'queue:' .. queue, 'paused') ~= '1' then
    for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. queue)) do
      local parts = split(lane)
      if hosts[parts[2]] and free(parts) then
        lanes = lanes + 1
        for _, member in ipairs(redis.call('ZRANGE', P .. 'ready:' .. lane, 0, most - 1)) do
          heads[#heads + 1] = {member, parts}
        end
      end
    end
  end
end
if lanes > 1 then table.sort(heads, function(a, b) return a[1] < b[1] end) end

local leases, due = {}, now() + ms
for _, head in ipairs(heads) do
  if #leases == most then break end
  if free(head[2]) then
    for i = 3, #head[2] do
      local group = head[2][i]
      if room[group] then room[group] = room[group] - 1 end
    end
    local task = load(string.sub(head[1], 9))
    leave(task)
    task.attempt = task.attempt + 1
    enter(task, 1, due, 'attempt', task.attempt, 'used', task.used + 1, 'worker', worker)
    local rest = redis.call('HMGET', P .. 'task:' .. task.id, 'payload', 'label')
    leases[#leases + 1] = {task.id, task.queue, task.key, rest[1], task.attempt, rest[2]}
  end
end
return leases

-- name: heartbeat
local due, kept = text(now() + tonumber(ARGV[1])), {}
for i = 2, #ARGV, 5 do
  local task = held(i)
  if task then
    redis.call('HSET', P .. 'task:' .. task.id, 'due', due)
    redis.call('ZADD', P .. 'leased', due, task.id)
  end
  kept[#kept + 1] = task and 1 or 0
end
return kept

-- name: tell
local task = held(1)
if not task then return 0 end
tell(task, 'part', ARGV[6], '')
return 1

-- name: ack
local kept = {}
for i = 1, #ARGV, 6 do
  local task = held(i)
  if task then
    remove(task, true)
    tell(task, 'done', ARGV[i + 5], '')
    count(task, 'done', 1)
  end
  kept[#kept + 1] = task and 1 or 0
end
return kept

-- name: nack
local task, err, delay = held(1), ARGV[6], tonumber(ARGV[7])
if not task then return 0 end
count(task, 'failed', 1)
if ARGV[8] == '1' or task.used > task.retries then
  die(task, err)
else
  leave(task)
  enter(task, delay > 0 and 4 or 0, now() + delay, 'error', err, 'worker', '')
end
return 1

-- name: release
for i = 1, #ARGV, 5 do
  local task = held(i)
  if task then
    leave(task)
    enter(task, 0, now(), 'used', task.used - 1, 'worker', '')
  end
end

-- name: sweep
local ids = redis.call('ZRANGEBYSCORE', P .. 'leased', '-inf', text(now()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  local task = load(id)
  local err = 'the lease of ' .. task.worker .. ' ran out'
  count(task, 'lost', 1)
  if task.used <= task.retries then
    leave(task)
    enter(task, 0, now(), 'error', err, 'worker', '')
  elseif task.retries == 0 then
    remove(task, true)
    tell(task, 'lost', '', task.worker)
  else
    die(task, err)
  end
end
return #ids

-- name: tidy
local at, all = now(), redis.call('HGETALL', P .. 'workers')
for i = 1, #all, 2 do
  if cjson.decode(all[i + 1])['until'] <= at then redis.call('HDEL', P .. 'workers', all[i]) end
end

-- name: stats
local rows, at = {}, now()
for _, queue in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
  local counts = redis.call('HMGET', P .. 'queue:' .. queue, 'delayed', 'leased', 'dead', 'put', 'done', 'failed', 'lost',
    'paused')
  local waiting = redis.call('ZCARD', P .. 'waiting:' .. queue)
  local first = redis.call('ZRANGE', P .. 'waiting:' .. queue, 0, 0)[1]
  local age = first and at - tonumber(redis.call('HGET', P .. 'task:' .. first, 'created')) or 0
  local row = {queue, text(waiting), text(redis.call('XLEN', P .. 'news:' .. queue)), text(age)}
  for i = 1, 8 do row[#row + 1] = counts[i] or '0' end
  rows[#rows + 1] = row
end
return rows

-- name: tasks
local after, queue, status, search, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local source = P .. (status == 'dead' and 'dead' or 'all')
local rows, at = {}, now()
local ids = redis.call('ZRANGEBYLEX', source, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, ARGV[6])
local codes = {waiting = {['0'] = true, ['4'] = true}, leased = {['1'] = true}, dead = {['2'] = true}}
local last = ''
for _, id in ipairs(ids) do
  if #rows == most then break end
  last = id
  local row = redis.call('HMGET', P .. 'task:' .. id, 'queue', 'key', 'label', 'status', 'rank', 'attempt', 'retries',
    'worker', 'error', 'created', 'due', 'size')
  if row[1] and (queue == '' or row[1] == queue) and (status == '' or codes[status][row[4]])
      and (search == '' or string.find(row[2], search, 1, true) or string.find(row[3], search, 1, true)) then
    row[5] = lead(row)
    row[10] = text(at - tonumber(row[10]))
    row[11] = text((row[4] == '1' or row[4] == '4') and tonumber(row[11]) - at or 0)
    table.insert(row, 1, id)
    rows[#rows + 1] = row
  end
end
return {last, rows}

-- name: task
local row = redis.call('HMGET', P .. 'task:' .. ARGV[1], 'queue', 'key', 'label', 'status', 'rank', 'attempt', 'retries',
  'worker', 'error', 'created', 'due', 'size', 'payload')
if not row[1] then return {} end
row[5] = lead(row)
row[10] = text(now() - tonumber(row[10]))
row[11] = text((row[4] == '1' or row[4] == '4') and tonumber(row[11]) - now() or 0)
table.insert(row, 1, ARGV[1])
return row

-- name: revive
local revived = 0
for _, id in ipairs(ARGV) do
  local task = load(id)
  if task and task.status == 2 then
    leave(task)
    enter(task, 0, now(), 'used', 0, 'error', '', 'worker', '')
    revived = revived + 1
  end
end
return revived

-- name: remove
local removed = 0
for _, id in ipairs(ARGV) do
  local task = load(id)
  if task then
    remove(task)
    removed = removed + 1
  end
end
return removed

-- name: pause
redis.call('SADD', P .. 'queues', ARGV[1])
redis.call('HSET', P .. 'queue:' .. ARGV[1], 'paused', ARGV[2])

-- name: hello
local at = now()
local told = cjson.decode(ARGV[2])
told['born'], told['seen'], told['until'] = at - tonumber(ARGV[3]), at, at + tonumber(ARGV[4])
redis.call('HSET', P .. 'workers', ARGV[1], cjson.encode(told))

-- name: workers
local at, rows, all = now(), {}, redis.call('HGETALL', P .. 'workers')
for i = 1, #all, 2 do
  local told = cjson.decode(all[i + 1])
  if told['until'] > at then
    rows[#rows + 1] = {all[i], told['info'], text(at - told['born']), text(at - told['seen'])}
  end
end
return rows

-- name: hold
local office = P .. 'office:' .. ARGV[1]
local owner = redis.call('GET', office)
if owner and owner ~= ARGV[2] then return 0 end
redis.call('SET', office, ARGV[2], 'PX', ARGV[3])
return 1

-- name: leave
local office = P .. 'office:' .. ARGV[1]
if redis.call('GET', office) == ARGV[2] then redis.call('DEL', office) end

-- name: draw
local bucket, amount, rate, burst = P .. 'bucket:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local at = tonumber(time[1]) + tonumber(time[2]) / 1000000
local last = redis.call('HMGET', bucket, 'owed', 'at')
local owed = math.max(0, tonumber(last[1] or 0) - math.max(0, at - tonumber(last[2] or at)) * rate) + amount
redis.call('HSET', bucket, 'owed', string.format('%.3f', owed), 'at', string.format('%.6f', at))
redis.call('EXPIRE', bucket, math.ceil(owed / rate) + 60)
return string.format('%.6f', math.max(0, owed - burst) / rate)
