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

-- Those that are read together, which the message is not.
local FIELDS = { 'pl', 'tag', 'n', 'q', 'th', 'own', 'sl', 'st', 'last', 'ro', 'pos', 'pr', 'de', 'ut', 'inl', 'si', 'aw', 'lw',
  'rt', 'raw' }
-- So many of them an end needs.
local ENDING = 8

local ZEROS = ('0'):rep(16)

-- A task in a sorted set that is of all tenants: by its number or its place, written so that texts are in the order of these.
local function member_of(number, t, id) return ZEROS:sub(#number + 1) .. number .. '\0' .. t .. '\0' .. id end

local MARK = '{"lovage": "'

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
  fields = fields or #FIELDS
  local v = call('HMGET', K.task(t, id), unpack(FIELDS, 1, fields))
  if not v[1] then return nil end
  -- Those that an end needs at once: a table that grows is made anew again and again.
  local r = { pl = v[1], tag = v[2] or nil, n = v[3], q = v[4], th = v[5] or nil, own = v[6] or nil, sl = v[7] or nil, st = v[8] }
  for i = ENDING + 1, fields do
    if v[i] then r[FIELDS[i]] = v[i] end
  end
  return r
end

-- Notes that a task has ended: other hosts have clients that wait for it.
local function note_end(t, id, n, now)
  zadd(K.ended, int(now), member_of(n, t, id))
  ended_ids[#ended_ids + 1] = '\n' .. t .. '\0' .. id
end

local function exists(t, id) return call('EXISTS', K.task(t, id)) == 1 end

local function encoded(id)
  if not id:find('[^%w_.:@-]') then return id end
  return (id:gsub('[^%w_.:@-]', function(c) return string.format('%%%02X', c:byte()) end))
end

-- What an element of ours begins with: its place in the line, and whose it is.
local function mark(pos, t, id) return MARK .. pos .. '/' .. t .. '/' .. encoded(id) .. '", ' end

-- The element of a message whose text begins behind its "{".
local function element(pos, t, id, rest) return mark(pos, t, id) .. rest end

-- A message as it is kept in unacked, and back. Messages may be large: no pattern goes through one, and few texts are made of one, since the
-- server looks at each byte of every text that a script makes.
local function held(raw, q) return '[' .. raw .. ', "", "' .. q .. '"]' end

local function unheld(text, q) return text:sub(2, -#q - 10) end

local function is_marked(text) return text:sub(2, #MARK + 1) == MARK end

-- What was held without its "{" and its place, so that it can get another one.
local function without_place(text, q)
  local to = is_marked(text) and text:find('"', #MARK + 2, true)
  local from = to and text:sub(to, to + 2) == '", ' and to + 3 or 3
  return text:sub(from, -#q - 10)
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

local function set(f, name, value, ...)
  local n = #f
  f[n + 1], f[n + 2] = name, value
  if ... then return set(f, ...) end
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

-- Writes that a message is in the line of its queue.
local function in_line(f, t, id, n, d, now)
  rings.ready = true
  if d.inl then
    set(f, 'pl', 'o')
    zadd(K.ended, int(now), member_of(n, t, id))
  else
    set(f, 'pl', 'r')
    count(t, d.q, 'r', 1)
    waits(t, 1)
  end
end

-- Puts a message to the end of its line.
local function to_line(f, t, id, n, d, pos, now)
  set(f, 'si', int(now), 'pos', pos)
  push(K.list(t, d.q, step_of(d.pr)), element(pos, t, id, d.el))
  use(t, d.q, now)
  in_line(f, t, id, n, d, now)
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
  to_line(f, t, id, n, d, pos, now)
end

-- Writes a message into a row.
local function message(f, t, id, n, d)
  set(f, 'm', d.m, 'na', d.na, 'q', d.q, 'pr', d.pr, 'ro', d.ro, 'rt', d.rt)
  if d.th then set(f, 'th', d.th) end
  if d.ut then set(f, 'ut', 1) end
  if d.inl then set(f, 'inl', 1) end
  if not d.sl then return end
  set(f, 'sl', cmsgpack.pack(d.sl))
  for _, label in ipairs(d.sl) do call('ZADD', K.stamp(t, label), n, id) end
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
