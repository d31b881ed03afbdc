-- What is known of a task, and where is its message? The moves that every script is made of.
--
-- Fields of a row: n number, st state that the last settlement left, pl place (r ready, s scheduled, b blocked, l leased,
-- o out: in Celery's form on a list that others take from as well, e ended), pos place in the line, si since when it is
-- ready or will be (none: since it came), q queue, pr priority (none: 0), na name, m message (raw=1: as it came), el its element
-- while it is scheduled, th what its end is for ("N", or "P<index>:<group>"), ro root (none: itself), ut untracked, inl in Celery's
-- form, rt retries (none: 0), sl labels of stamps, de deliveries, tag lease, the last one, lw who has it, own and ownm a state of the
-- task's own, wo who had it last, last the tag of the last settlement, if that did not end it, sub when it came, en when it ended,
-- re tb fa us what its last settlement left, ch whether it has children, aw and ag what it waits for.
--
-- A row has few fields, and a script few arguments: what the server does for a task is most of all to turn these into values of Lua,
-- and back. Numbers are written as texts, which costs least.

local call = redis.call
local FIELDS = { 'pl', 'tag', 'n', 'q', 'th', 'own', 'sl', 'st', 'last', 'ro', 'pos', 'pr', 'de', 'ut', 'inl', 'si', 'aw', 'lw',
  'rt', 'raw', 'm' }
-- All but the message; and those that an end needs.
local LIGHT, ENDING = #FIELDS - 1, 8

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

local function int(x) return format('%d', x) end

local ZEROS = ('0'):rep(16)

-- A task in a sorted set that is of all tenants: by its number or its place, written so that texts are in the order of these.
local function member_of(number, t, id) return ZEROS:sub(#number + 1) .. number .. '\0' .. t .. '\0' .. id end

local function unescaped(hex) return string.char(tonumber(hex, 16)) end

-- The place, the tenant and the id that stand in an element of ours; nothing, if it is a client's.
local function mark_of(raw)
  local pos, t, from = raw:match('^{"lovage": "(%d+)/([^/"]+)/()')
  local to = from and raw:find('"', from, true)
  if not to then return nil end
  local id = raw:sub(from, to - 1)
  if id:find('%', 1, true) then id = id:gsub('%%(%x%x)', unescaped) end
  return pos, t, id
end

local function read_row(t, id, fields)
  local v = call('HMGET', K.task(t, id), unpack(FIELDS, 1, fields or LIGHT))
  if not v[1] then return nil end
  local r = {}
  for i = 1, fields or LIGHT do
    if v[i] then r[FIELDS[i]] = v[i] end
  end
  return r
end

local function exists(t, id) return call('EXISTS', K.task(t, id)) == 1 end

-- What a script changes in many places is gathered, and written once at its end.
local counted, gathered, pushes, push_order = nil, {}, {}, {}
local rings = { ready = false, ended = false }
-- Which tasks have ended, each after a line break.
local ended_ids = {}

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

local function push(key, element)
  local of = pushes[key]
  if not of then
    of = {}
    pushes[key] = of
    push_order[#push_order + 1] = key
  end
  of[#of + 1] = element
end

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

-- Notes that a task has ended: other hosts have clients that wait for it.
local function note_end(t, id, n, now)
  zadd(K.ended, int(now), member_of(n, t, id))
  ended_ids[#ended_ids + 1] = '\n' .. t .. '\0' .. id
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
      if d ~= 0 and call('HINCRBY', key, field, d) <= 0 then call('HDEL', key, field) end
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

local function encoded(id)
  if not id:find('[^%w_.:@-]') then return id end
  return (id:gsub('[^%w_.:@-]', function(c) return string.format('%%%02X', c:byte()) end))
end

local MARK = '{"lovage": "'

-- What an element of ours begins with: its place in the line, and whose it is.
local function mark(pos, t, id) return MARK .. pos .. '/' .. t .. '/' .. encoded(id) .. '", ' end

-- The element of a message whose text begins behind its "{".
local function element(pos, t, id, rest) return mark(pos, t, id) .. rest end

local function position(raw) return tonumber(raw:match('^{"lovage": "(%d+)/')) end

-- A message as it is kept in unacked, and back.
local function held(raw, q) return '[' .. raw .. ', "", "' .. q .. '"]' end

local function unheld(text, q) return text:sub(2, -#q - 10) end

-- Messages may be large: no pattern goes through one, and few texts are made of one, since the server looks at each byte of every text that
-- a script makes.

-- What is between two places of a text, behind another text, as a message that says that it is delivered again.
local function redelivered(before, text, from, to)
  local _, at = text:find('"delivery_info": {', 1, true)
  local says_more = at and text:sub(at + 1, at + 1) == '"' and text:sub(at + 1, at + 13) ~= '"redelivered"'
  if not says_more then return before .. text:sub(from, to) end
  return before .. text:sub(from, at) .. '"redelivered": true, ' .. text:sub(at + 1, to)
end

local function is_marked(text) return text:sub(2, #MARK + 1) == MARK end

-- A message that was held, as it goes back to its place in the line.
local function returned(text, r, t, id, again)
  local before, to = is_marked(text) and '{' or mark(r.pos, t, id), -#r.q - 10
  if again then return redelivered(before, text, 3, to) end
  return before .. text:sub(3, to)
end

-- What was held without its "{" and its place, so that it can get another one.
local function without_place(text, q)
  local to = is_marked(text) and text:find('"', #MARK + 2, true)
  local from = to and text:sub(to, to + 2) == '", ' and to + 3 or 3
  return text:sub(from, -#q - 10)
end

-- So many elements of one line, and so many bytes of all lines, are looked at to find the old place of something.
local MOST_OLDER, older_bytes = 32, 262144

-- Puts elements back into a line, each to its old place; where more is older than is looked at, before that. (What has no place, since
-- a client put it there, stays behind them.)
local function restore(key, items)
  table.sort(items, function(a, b) return a.pos > b.pos end)
  local older, last = {}, items[1].pos
  while #older < MOST_OLDER and older_bytes > 0 do
    local raw = lenient('LINDEX', key, -#older - 1)
    local pos = raw and position(raw)
    older_bytes = older_bytes - #(raw or '')
    if not pos or pos > last or older_bytes < 0 then break end
    older[#older + 1] = { pos = pos, raw = raw }
  end
  if #older > 0 then lenient('LTRIM', key, 0, -#older - 1) end
  local merged, at = {}, #older
  for _, item in ipairs(items) do
    while at > 0 and older[at].pos > item.pos do
      merged[#merged + 1] = older[at].raw
      at = at - 1
    end
    merged[#merged + 1] = item.raw
  end
  for i = at, 1, -1 do merged[#merged + 1] = older[i].raw end
  spread('RPUSH', key, merged, lenient)
end

-- Gathers what goes back to its line; see put_back.
local backs, back_order = {}, {}

local function back(key, pos, raw)
  local of = backs[key]
  if not of then
    of = {}
    backs[key] = of
    back_order[#back_order + 1] = key
  end
  of[#of + 1] = { pos = tonumber(pos), raw = raw }
end

local function put_back()
  for _, key in ipairs(back_order) do restore(key, backs[key]) end
  backs, back_order = {}, {}
end

-- Takes a message from wherever it is. The row still says that it is there: the caller writes the row.
local function take(t, id, r)
  local pl = r.pl
  if pl == 'r' then
    count(t, r.q, 'r', -1)
    count(t, r.q, 'x', 1)
    waits(t, -1)
  elseif pl == 's' then
    local member = member_of(r.pos, t, id)
    call('ZREM', K.scheduled, member)
    call('ZREM', K.later(t, r.q), member)
    count(t, r.q, 's', -1)
    waits_for_its_time(t, -1)
  elseif pl == 'b' then
    call('ZREM', K.blocked(t, r.aw), id)
    count(t, r.q, 'b', -1)
    waits(t, -1)
  elseif pl == 'l' then
    zrem(K.unacked_index(t), r.tag)
    zrem(K.leases, r.tag)
    count(t, r.q, 'l', -1)
  elseif pl == 'o' then
    count(t, r.q, 'x', 1)
    zrem(K.ended, member_of(r.n, t, id))
  end
end

local function unlabel(t, id, r)
  if not r.sl then return end
  for _, label in ipairs(cmsgpack.unpack(r.sl)) do call('ZREM', K.stamp(t, label), id) end
end

local function set(f, ...)
  local n, more = #f, { ... }
  for i = 1, #more do f[n + i] = more[i] end
end

local function forget_field(f, name)
  f.gone = f.gone or {}
  f.gone[#f.gone + 1] = name
end

local function write_row(t, id, f)
  local key = K.task(t, id)
  if f.gone then call('HDEL', key, unpack(f.gone)) end
  if #f > 0 then call('HSET', key, unpack(f)) end
end

-- Puts a message to the end of its line.
local function to_line(f, t, id, d, pos, now)
  set(f, 'si', int(now), 'pos', pos)
  push(K.list(t, d.q, step_of(d.pr)), element(pos, t, id, d.el))
  rings.ready = true
  use(t, d.q, now)
  if d.inl then
    set(f, 'pl', 'o')
    zadd(K.ended, int(now), member_of(f.n, t, id))
  else
    set(f, 'pl', 'r')
    count(t, d.q, 'r', 1)
    waits(t, 1)
  end
end

local function schedule(f, t, id, r, until_, el, now)
  set(f, 'pl', 's', 'si', int(until_), 'el', el)
  local member = member_of(r.pos, t, id)
  call('ZADD', K.scheduled, int(until_), member)
  call('ZADD', K.later(t, r.q), int(until_), member)
  count(t, r.q, 's', 1)
  waits_for_its_time(t, 1)
  use(t, r.q, now)
  rings.ready = true
end

-- Whether a message has to wait for its time, and for nothing else.
local function is_scheduled(d, now) return not d.aw and d.eta and d.eta > now end

-- Gives a message its place: what waits for another is blocked, what is due later is scheduled, all others are ready.
local function place(f, t, id, n, d, now)
  f.n = n
  if d.aw then
    set(f, 'pl', 'b', 'aw', d.aw, 'ag', call('EXISTS', K.join(t, d.aw)))
    call('ZADD', K.blocked(t, d.aw), n, id)
    count(t, d.q, 'b', 1)
    waits(t, 1)
    use(t, d.q, now)
    return
  end
  local pos = int(next_of('pos'))
  if is_scheduled(d, now) then
    set(f, 'pos', pos)
    return schedule(f, t, id, { pos = pos, q = d.q }, d.eta, d.el, now)
  end
  to_line(f, t, id, d, pos, now)
end

-- Writes a message into a row.
local function message(f, t, id, n, d)
  set(f, 'm', d.m, 'na', d.na, 'q', d.q, 'pr', d.pr, 'ro', d.ro, 'rt', d.rt)
  for name, value in pairs({ th = d.th or false, ut = d.ut and 1 or false, inl = d.inl and 1 or false,
    sl = d.sl and cmsgpack.pack(d.sl) or false }) do
    if value then set(f, name, value) end
  end
  for _, label in ipairs(d.sl or {}) do call('ZADD', K.stamp(t, label), n, id) end
end

-- Gives a task another message: the old one has been taken.
local function swap(f, t, id, r, d, now)
  unlabel(t, id, r)
  for _, name in ipairs({ 'th', 'ut', 'inl', 'sl', 'raw', 'aw' }) do
    if r[name] then forget_field(f, name) end
  end
  if r.aw then forget_field(f, 'ag') end
  if r.pl == 's' then forget_field(f, 'el') end
  message(f, t, id, r.n, d)
  place(f, t, id, r.n, d, now)
end

-- Stores a new task, whose id is free.
local function insert(t, d, now)
  local n = int(next_of('number'))
  local f = { 'n', n, 'st', 'PENDING', 'de', '0', 'sub', int(now) }
  message(f, t, d.id, n, d)
  place(f, t, d.id, n, d, now)
  write_row(t, d.id, f)
  zadd(K.tasks(t), n, d.id)
  add(K.tenants, t, 1)
end

-- Forgets a task that has ended.
local function drop(t, id, n)
  call('DEL', K.task(t, id), K.log(t, id), K.children(t, id), K.descendants(t, id))
  zrem(K.tasks(t), id)
  zrem(K.ended, member_of(n, t, id))
  add(K.tenants, t, -1)
end

local LASTS = int(TTL)

-- Stores a result for Celery's clients, unless a success is there.
local function put_meta(t, id, text)
  local key = K.meta(t, id)
  if not call('SET', key, text, 'NX', 'EX', LASTS) then
    if (lenient('GETRANGE', key, 0, 40) or ''):find('^{"status": *"SUCCESS"') then return end
    call('SETEX', key, LASTS, text)
  end
  call('PUBLISH', key, text)
end

local function status(r)
  if r.pl ~= 'l' then return r.st end
  return r.own or (r.ut and 'PENDING') or 'STARTED'
end

local function token(tag) return tag:match('^lovage%-(%x+)') end
