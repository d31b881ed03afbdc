-- What a script changes in many places is gathered, and written once at its end.

local call = redis.call

-- Whether an error is about the value that a command found: of another type, no number, a number that grows too large. All others are
-- about the server (OOM, MISCONF, READONLY, ...), which says so before a script has written anything, or about what a script may do, in
-- words that name it.
local function is_about_value(err)
  return err:find('^WRONGTYPE ') or err:find('^ERR ') and not err:find('script', 1, true)
end

-- A command on a key of Celery's, which clients may write as well: a value that it cannot be applied to is taken for one that is not
-- there, since an error would end a script that has done half of its work, for all tenants.
local function lenient(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    if is_about_value(answer.err) then return false end
    error(answer.err)
  end
  return answer
end

-- The text of a whole number: the last one is asked for again, if it was a time.
local last, last_text
local function int(x)
  if x ~= last then last, last_text = x, format('%d', x) end
  return last_text
end

local counted, gathered, pushes, push_order = nil, {}, {}, {}
local rings = { ready = false, ended = false }
-- Which tasks have ended, each after a line break.
local ended_ids = {}

-- The numbers that were given last.
local function counters()
  if not counted then
    local v = call('HMGET', K.counters, 'number', 'pos', 'key', 'part')
    counted = { number = tonumber(v[1] or 0), pos = tonumber(v[2] or 0), key = tonumber(v[3] or 0), part = tonumber(v[4] or 0) }
  end
  return counted
end

local function next_of(what)
  local c = counters()
  c[what] = c[what] + 1
  c.dirty = true
  return c[what]
end

-- The table in a table.
local function within(all, name)
  local of = all[name]
  if not of then
    of = {}
    all[name] = of
  end
  return of
end

-- Adds to the list in a table; `order` has the names of these lists in the order in which they came.
local function add_to(all, order, name, item)
  if not all[name] then order[#order + 1] = name end
  local of = within(all, name)
  of[#of + 1] = item
end

-- Something to be added to a hash's field at the end.
local function add(key, field, d)
  local of = within(gathered, key)
  of[field] = (of[field] or 0) + d
end

local function added(key, field)
  return gathered[key] and gathered[key][field] or 0
end

-- How many messages more of each kind are in each queue.
local counts = {}

local function count(t, q, kind, d)
  local line = within(within(counts, t), q)
  line[kind] = (line[kind] or 0) + d
end

local function waits(t, d) add(K.waiting, t, d) end

-- One that is scheduled.
local function waits_for_its_time(t, d)
  waits(t, d)
  add(K.timed, t, d)
end

-- How many tasks of a tenant wait, whatever for; and how many of them are scheduled.
local function backlog(t)
  local function all(key) return tonumber(call('HGET', key, t) or 0) + added(key, t) end
  return all(K.waiting), all(K.timed)
end

local function push(key, element) add_to(pushes, push_order, key, element) end

-- A command with any number of values.
local function spread(command, key, values, run)
  local most = 4000
  run = run or call
  for from = 1, #values, most do
    run(command, key, unpack(values, from, math.min(from + most - 1, #values)))
  end
end

local zadds, zrems, used = {}, {}, {}

-- Writes what was said of a sorted set, whose last word counts: removals were said before what is added.
local function write_set(key)
  local run = key:sub(-#UNACKED_INDEX) == UNACKED_INDEX and lenient or call
  if zrems[key] then spread('ZREM', key, zrems[key], run) end
  if zadds[key] then spread('ZADD', key, zadds[key], run) end
  zrems[key], zadds[key] = nil, nil
end

local function zadd(key, score, member)
  local of = within(zadds, key)
  of[#of + 1] = score
  of[#of + 1] = member
end

-- What may have been added before is written first: it is seldom that something is removed after that.
local function zrem(key, member)
  if zadds[key] then write_set(key) end
  local of = within(zrems, key)
  of[#of + 1] = member
end

-- Notes that a queue is used, so that leases look there.
local function use(t, q, now) used[t .. '\0' .. q] = now end

local function registry_changed()
  call('HINCRBY', K.counters, 'registry', 1)
end

local function ring(what)
  call('PUBLISH', K.bell, OPENING .. ' ' .. what)
end

-- Writes what was gathered.
local function finish()
  if counted and counted.dirty then
    local c = counted
    call('HSET', K.counters, 'number', int(c.number), 'pos', int(c.pos), 'key', int(c.key), 'part', int(c.part))
  end
  for t, of in pairs(counts) do
    for q, line in pairs(of) do
      for kind, d in pairs(line) do add(K.lines(t), q .. '\0' .. kind, d) end
    end
  end
  for key, of in pairs(gathered) do
    for field, d in pairs(of) do
      if d ~= 0 and call('HINCRBY', key, field, int(d)) <= 0 then call('HDEL', key, field) end
    end
  end
  for key in pairs(zrems) do write_set(key) end
  for key in pairs(zadds) do write_set(key) end
  for _, key in ipairs(push_order) do spread('LPUSH', key, pushes[key], lenient) end
  local is_new = false
  for queue, now in pairs(used) do
    if call('ZADD', K.queues, 'GT', int(now), queue) == 1 then is_new = true end
  end
  if is_new then registry_changed() end
  local what = (rings.ready and 'r' or '') .. (rings.ended and 'e' or '') .. table.concat(ended_ids)
  if what ~= '' then ring(what) end
end

local function told()
  return { ready = rings.ready, ended = rings.ended }
end
