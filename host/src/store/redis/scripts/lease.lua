-- Takes messages that are due: each is in unacked, under a tag that was never given before, in the step that takes it from
-- its list.

if (call('HGET', K.counters, 'registry') or '0') ~= A.registry then
  return cmsgpack.pack({ stale = true })
end

local PAGE = 1000
-- So many elements that stand for nothing any more, and so many bytes of them, are left out in one call, however many there are: those who
-- put them there keep nobody else waiting.
local MOST_DROPPED, MOST_DROPPED_BYTES = 1000, 1048576
-- So many are read from a list at once: none of them may come along, and each may be large.
local MOST_READ, LARGE = 8, 262144
-- What many rows are told.
local NOW, UNTIL, SCORE = int(A.now), int(A['until']), format('%.6f', A.now / 1000000)

-- The number of a tag that this host has given since it is here.
local function number_of(tag)
  local opening, number = tag:match('^lovage%-(%x%x%x%x%x%x)(%x+)/')
  return opening == OPENING and tonumber(number, 16) or nil
end

-- What was granted to this host by a call whose answer it never got.
if A.void then
  for _, tag in ipairs(call('ZRANGE', K.leases, 0, -1)) do
    if (number_of(tag) or -1) >= A.void then lapse(tag, A.now) end
  end
end

-- A page of what a time has come for; what of it does not go back now is due at once.
local function due_of(key, now) return call('ZRANGE', key, '-inf', now, 'BYSCORE', 'LIMIT', 0, PAGE) end

-- The newest first: where messages are too large to look behind them, the older ones are put before it.
local lapsed = due_of(K.leases, int(A.lapsed))
for i = #lapsed, 1, -1 do
  if is_enough_back() then break end
  lapse(lapsed[i], A.now)
end
for _, member in ipairs(due_of(K.scheduled, NOW)) do
  if is_enough_back() then break end
  promote(member, A.now)
end
put_back()

local leases, bytes, more, dropped, dropped_bytes = {}, 0, false, 0, 0
local unacked = {}

-- Gives a message to who asks; `raw` is the element as it was.
local function grant(t, id, q, raw)
  local number = A.first + #leases
  local tag = 'lovage-' .. OPENING .. format('%010x', number) .. '/' .. t .. '/' .. id
  local of = within(unacked, t)
  of[#of + 1] = tag
  of[#of + 1] = held(raw, q)
  zadd(K.unacked_index(t), SCORE, tag)
  zadd(K.leases, UNTIL, tag)
  count(t, q, 'l', 1)
  return number, tag
end

-- Leaves out what stands for nothing any more; the rest of them next time, which is at once.
local function leave_out(size)
  dropped, dropped_bytes = dropped + 1, dropped_bytes + size
  more = more or dropped >= MOST_DROPPED or dropped_bytes >= MOST_DROPPED_BYTES
end

local function granted(f, r, tag)
  local de = tonumber(r and r.de or 0) + 1
  set(f, 'pl', 'l', 'tag', tag, 'lw', A.worker, 'de', int(de))
  return de
end

-- Whether somebody has the message of a row that is leased, by this call perhaps: it may have been taken back.
local function is_held(t, r)
  return (number_of(r.tag) or -1) >= A.first or lenient('HEXISTS', K.unacked(t), r.tag) == 1
end

-- One of ours. Whether it was taken, or was of no worth.
local function take_ours(source, raw, t, id, pos)
  local r = read_row(t, id, #FIELDS)
  local is_current = r and r.pos == pos
  local was_ready = is_current and (r.pl == 'r' or r.pl == 'o')
  -- Taken back from a host that is thought to be lost.
  local was_lost = is_current and r.pl == 'l' and not is_held(t, r)
  if not was_ready and not was_lost then
    count(source.t, source.q, 'x', -1)
    leave_out(#raw + #(r and r.m or ''))
    return true
  end
  bytes = bytes + #(r.m or '')
  if bytes > MAX_BYTES and #leases > 0 then
    more = true
    return false
  end
  if was_lost then
    take(t, id, r)
  elseif r.pl == 'r' then
    count(t, r.q, 'r', -1)
    waits(t, -1)
  else
    zrem(K.ended, member_of(r.n, t, id))
  end
  local number, tag = grant(t, id, r.q, raw)
  local f = {}
  if was_lost and r.own then
    forget_field(f, 'own')
    forget_field(f, 'ownm')
  end
  local de = granted(f, r, tag)
  write_row(t, id, f)
  leases[#leases + 1] = { n = tonumber(r.n), token = number, t = t, id = id, m = r.m, raw = r.raw, de = de, q = r.q }
  return true
end

-- Whether an id can be one.
-- (Of others than these the host says what they are.)
local function is_id(id) return type(id) == 'string' and #id > 0 and #id <= 255 and not id:find('[^!-~]') end

local function text_of(value) return type(value) == 'string' and value or nil end

-- Takes a message that only the host can read; it has no row until then.
local function take_unread(source, raw)
  local number = grant(source.t, '', source.q, raw)
  leases[#leases + 1] = { n = 0, token = number, t = source.t, id = '', m = raw, raw = '1', de = 1, q = source.q }
end

-- The priority of a client's message: the list that it is on knows better.
local function priority_of(msg, source)
  local priority = type(msg.properties) == 'table' and tonumber(msg.properties.priority) or 0
  return step_of(priority) == source.step and priority or STEPS[source.step]
end

-- Whether a second message of a task is to be taken instead of the first.
local function is_newer(t, r, retries)
  local before = tonumber(r.rt or 0)
  if r.pl == 'l' then return not is_held(t, r) end
  if r.pl == 'e' or r.pl == 'o' then return retries >= before or r.pl == 'e' end
  return retries > before
end

-- Makes a row that is not leased ready to be, for a message that takes the place of the old one.
local function replace(f, t, id, r, now)
  take(t, id, r)
  unlabel(t, id, r)
  for _, name in ipairs({ 'own', 'ownm', 'el', 'aw', 'ag', 'sl', 'ut' }) do forget_field(f, name) end
  if r.pl ~= 'e' then return end
  zrem(K.ended, member_of(r.n, t, id))
  for _, name in ipairs({ 'en', 're', 'tb', 'fa', 'us', 'ch', 'wo' }) do forget_field(f, name) end
  call('DEL', K.log(t, id), K.children(t, id))
  set(f, 'st', 'PENDING', 'sub', int(now))
  r.de = 0
end

-- A message that a client put there, in Celery's words. It gets a row now, unless it is a second one of a task that is
-- dealt with already.
local function take_foreign(source, raw)
  if bytes + #raw > MAX_BYTES and #leases > 0 then
    more = true
    return false
  end
  bytes = bytes + #raw
  local is_read, msg = pcall(cjson.decode, raw)
  local h = is_read and type(msg) == 'table' and type(msg.headers) == 'table' and msg.headers
  if not h or not is_id(h.id) or not text_of(h.task) or raw:sub(1, 1) ~= '{' then
    take_unread(source, raw)
    return true
  end
  local t, q, id, retries = source.t, source.q, h.id, tonumber(h.retries) or 0
  local r = exists(t, id) and read_row(t, id) or nil
  if r and not is_newer(t, r, retries) then
    leave_out(#raw)
    return true
  end
  local n = r and r.n or int(next_of('number'))
  local f = { 'm', raw, 'raw', '1', 'inl', '1', 'na', h.task, 'q', q, 'pos', int(next_of('pos')) }
  if r then
    replace(f, t, id, r, A.now)
    set(f, 'si', NOW)
  else
    set(f, 'n', n, 'st', 'PENDING', 'sub', NOW)
    zadd(K.tasks(t), n, id)
    add(K.tenants, t, 1)
  end
  local priority, root = priority_of(msg, source), text_of(h.root_id) or id
  if r or priority ~= 0 then set(f, 'pr', priority) end
  if r or retries ~= 0 then set(f, 'rt', retries) end
  if r or root ~= id then set(f, 'ro', root) end
  local number, tag = grant(t, id, q, raw)
  local de = granted(f, r, tag)
  write_row(t, id, f)
  leases[#leases + 1] = { n = tonumber(n), token = number, t = t, id = id, m = raw, raw = '1', de = de, q = q }
  return true
end

local function take_one(source, raw)
  local pos, t, id = mark_of(raw)
  if t == source.t then return take_ours(source, raw, t, id, pos) end
  return take_foreign(source, raw)
end

-- Who cannot hold what it takes is given nothing: its clients have put something else there.
local holds = {}
local function can_hold(t)
  if holds[t] == nil then
    local function is(key, kind)
      local there = call('TYPE', key).ok
      return there == 'none' or there == kind
    end
    holds[t] = is(K.unacked(t), 'hash') and is(K.unacked_index(t), 'zset')
  end
  return holds[t]
end

-- What is in a list, read in pieces from its front, which is the end of each piece: small ones first, and again where messages are large.
local function fill(source)
  if source.at == 0 and not source.over then
    local size = math.max(1, math.min(source.size, A.max - #leases))
    local piece = can_hold(source.t) and lenient('LRANGE', source.key, -source.taken - size, -source.taken - 1) or {}
    local read = 0
    for _, raw in ipairs(piece) do read = read + #raw end
    source.piece, source.at, source.over = piece, #piece, #piece < size
    source.size = read < LARGE and math.min(size * 2, MOST_READ) or 1
  end
  return source.piece[source.at]
end

local function open_source(list, step)
  return { key = K.list(list.t, list.q, step), t = list.t, q = list.q, step = step, piece = {}, at = 0, size = 1, taken = 0, over = false }
end

-- The source whose turn it is, and how old its first element is. Of ours the oldest goes first; a client's has no age, so that its
-- list takes turns with the others, each call beginning with another one: none waits until another is empty.
local function oldest(sources, is_compared)
  local found, best, many = nil, nil, #sources
  for i = 1, many do
    local source = sources[many == 1 and 1 or (A.first + i) % many + 1]
    local raw = fill(source)
    if raw then
      local pos = (is_compared or many > 1) and position(raw) or -1
      local is_next = not found
      if found and pos >= 0 and best >= 0 then
        is_next = pos < best
      elseif found then
        is_next = source.taken < found.taken
      end
      if is_next then found, best = source, pos end
    end
  end
  return found, best
end

-- Those of the sources that have something in them.
local function full_ones(sources)
  if #sources < 2 then return sources end
  local keys, full = {}, {}
  for i, source in ipairs(sources) do keys[i] = source.key end
  local is_any = false
  for from = 1, #keys, 4000 do
    if call('EXISTS', unpack(keys, from, math.min(from + 3999, #keys))) > 0 then is_any = true end
  end
  if not is_any then return full end
  for _, source in ipairs(sources) do
    if call('EXISTS', source.key) == 1 then full[#full + 1] = source end
  end
  return full
end

local function trim(sources)
  for _, source in ipairs(sources) do
    if source.taken > 0 then call('LTRIM', source.key, 0, -source.taken - 1) end
  end
end

-- Takes the first element of a source; false: it is too large to come along.
local function take_from(source)
  local is_taken = take_one(source, source.piece[source.at])
  if is_taken then
    source.at = source.at - 1
    source.taken = source.taken + 1
  end
  return is_taken
end

local function take_step(step)
  local sources = {}
  for _, list in ipairs(A.lists) do sources[#sources + 1] = open_source(list, step) end
  sources = full_ones(sources)
  while #leases < A.max and not more do
    local source = oldest(sources)
    if not source then break end
    take_from(source)
  end
  trim(sources)
end

-- A tenant's next source: of the first step that has a message, the one with the oldest.
local function advance(of)
  while of.at <= #STEPS do
    of.source, of.pos = oldest(of.steps[of.at], true)
    if of.source then return end
    of.at = of.at + 1
  end
end

local function is_before(a, b)
  if a.used ~= b.used then return a.used < b.used end
  if a.at ~= b.at then return a.at < b.at end
  return a.pos < b.pos
end

-- Several tenants: next comes the one that has used least; see sharing.rs.
local function take_shared()
  local all, tenants, by_name = {}, {}, {}
  for step = 1, #STEPS do
    for _, list in ipairs(A.lists) do all[#all + 1] = open_source(list, step) end
  end
  all = full_ones(all)
  for _, source in ipairs(all) do
    local of = by_name[source.t]
    if not of then
      local share = A.shares[source.t]
      of = { steps = {}, at = 1, used = share[1], step = share[2], left = share[3] }
      for step = 1, #STEPS do of.steps[step] = {} end
      by_name[source.t] = of
      tenants[#tenants + 1] = of
      of.source = false
    end
    local step = of.steps[source.step]
    step[#step + 1] = source
  end
  for _, of in ipairs(tenants) do advance(of) end
  while #leases < A.max and not more do
    local turn = nil
    for _, of in ipairs(tenants) do
      if of.source and of.left > 0 and (not turn or is_before(of, turn)) then turn = of end
    end
    if not turn then break end
    local before = #leases
    if take_from(turn.source) then advance(turn) end
    if #leases > before then
      turn.used = turn.used + turn.step
      turn.left = turn.left - 1
    end
  end
  trim(all)
end

if A.shares then
  if A.max > 0 then take_shared() end
elseif A.max > 0 and #A.lists > 0 then
  for step = 1, #STEPS do
    if #leases < A.max and not more then take_step(step) end
  end
end
for t, of in pairs(unacked) do spread('HSET', K.unacked(t), of) end
-- Who asks needs no bell for what it got; others may take what it left.
rings.ready = rings.ready and #leases >= A.max
finish()

local due = nil
for _, key in ipairs({ K.leases, K.scheduled }) do
  local first = tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or nil)
  -- What has lapsed and is spared is looked at again in a second.
  if first and key == K.leases and A.lapsed < A.now and first <= A.now then first = A.now + 1000000 end
  if first and (not due or first < due) then due = first end
end
if more then due = A.now end
return cmsgpack.pack({ leases = leases, due = due, dropped = dropped })
