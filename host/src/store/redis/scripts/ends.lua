-- What follows when a task ends? Joins that gather, ends that are kept for who follows, plans that are stored.

local function keep(what)
  local key = next_of('key')
  call('HSET', K.ending, int(key), cmsgpack.pack(what))
  call('ZADD', K.ends, int(key), int(key))
  rings.ended = true
end

local function complete_join(t, group)
  call('HSET', K.join(t, group), 'done', 1)
  keep({ kind = 'join', t = t, id = group })
end

-- Opens a join, whose id is free. One of no parts is complete.
local function open_join(t, join)
  call('HSET', K.join(t, join.group), 'size', join.size, 'n', 0, 'done', 0, 'th', join.th, 'by', 0)
  if join.size == 0 then complete_join(t, join.group) end
end

local function grow(t, group, parts)
  local key = K.join(t, group)
  if call('HGET', key, 'done') == '0' then call('HINCRBY', key, 'size', parts) end
end

-- Counts a part of a join, if the join waits for it. Of what is more than anybody reads again only the number is kept.
local function count_part(t, group, part, index, arrival)
  local key = K.join(t, group)
  local v = call('HMGET', key, 'done', 'size', 'n', 'by')
  if v[1] ~= '0' then return end
  local c = counters()
  -- (Joins of older versions do not count bytes.)
  local by = v[4] and tonumber(v[4]) + #arrival
  local kept = by and by > MAX_BYTES and '' or arrival
  if call('HSETNX', K.parts(t, group), part, index .. '\0' .. int(c.part + 1) .. '\0' .. kept) == 0 then return end
  next_of('part')
  if by then call('HSET', key, 'by', int(by)) end
  if call('HINCRBY', key, 'n', 1) >= tonumber(v[2]) then complete_join(t, group) end
end

local function store_joins(t, plan)
  for _, join in ipairs(plan.joins) do open_join(t, join) end
end

local function store_tasks(t, plan, now)
  for _, d in ipairs(plan.tasks) do insert(t, d, now) end
end

-- Which id of a plan is in use; and whether all of them are, so that it was stored before.
local function clash(t, plan)
  local seen, known, first = {}, 0, nil
  for _, d in ipairs(plan.tasks) do
    local is_there = exists(t, d.id)
    if is_there then known = known + 1 end
    if (is_there or seen[d.id]) and not first then first = d.id end
    seen[d.id] = true
  end
  local whole = known > 0 and known == #plan.tasks
  if not first then
    seen = {}
    for _, join in ipairs(plan.joins) do
      local is_there = call('EXISTS', K.join(t, join.group)) == 1
      if (is_there or seen[join.group]) and not first then first = join.group end
      seen[join.group] = true
    end
  end
  return first, whole
end

-- Which limit leaves no room for a plan; see admission.rs.
local function full(t, plan, room, descendants, now)
  local tasks = #plan.tasks
  if tasks == 0 then return nil end
  if descendants and descendants + tasks > room.descendants then return 'descendants' end
  local scheduled = 0
  for _, d in ipairs(plan.tasks) do
    if is_scheduled(d, now) then scheduled = scheduled + 1 end
  end
  local waiting, timed = backlog(t)
  if waiting + tasks > room.queued_tasks then return 'queued_tasks' end
  if scheduled > 0 and timed + scheduled > room.scheduled_tasks then return 'scheduled_tasks' end
  return nil
end

local function release(t, id, r, d, now)
  take(t, id, r)
  local f = {}
  swap(f, t, id, r, d, now)
  write_row(t, id, f)
end

-- Deals with those that wait for a task that has ended, or leaves that to who asks for it. `follower` is the one that was
-- found to wait before this began, with the message that it gets.
local function advance(t, id, th, arrival, follower, now)
  if not th then return end
  if th ~= 'N' then
    local index, group = th:match('^P(%d+):(.*)$')
    return count_part(t, group, id, index, arrival)
  end
  local followers = call('ZRANGE', K.blocked(t, id), 0, 1)
  if #followers == 0 then return end
  if follower and #followers == 1 and followers[1] == follower.id then
    local r = read_row(t, follower.id)
    if r and r.n == follower.n then return release(t, follower.id, r, follower.d, now) end
  end
  keep({ kind = 'task', t = t, id = id, arrival = arrival })
end

-- Writes what a settlement left, or forgets what one before it may have.
local function leave(f, r, name, text)
  if text then
    set(f, name, text)
  elseif r.st ~= 'PENDING' then
    forget_field(f, name)
  end
end

local NONE = {}

-- Applies a settlement that nothing stands against, to a task whose message may be anywhere.
local function conclude(t, id, r, s)
  local now = s.at
  local f = s.done and { 'st', s.st, 're', s.re, 'pl', 'e', 'en', int(now) } or { 'st', s.st, 're', s.re }
  take(t, id, r)
  if s.leave then
    -- It goes on elsewhere, under its id.
    unlabel(t, id, r)
    return drop(t, id, r.n)
  end
  if r.own then
    forget_field(f, 'own')
    forget_field(f, 'ownm')
  end
  leave(f, r, 'tb', s.tb)
  leave(f, r, 'fa', s.fa)
  if s.wo then set(f, 'wo', s.wo, 'us', s.us) end
  if r.pl == 'l' and not s.done then set(f, 'last', r.tag) end
  if s.done then
    -- By its tag a settlement is known again that ended it; this one is no lease's.
    if r.pl ~= 'l' and r.tag then forget_field(f, 'tag') end
    unlabel(t, id, r)
    note_end(t, id, r.n, now)
    if r.pl == 's' then forget_field(f, 'el') end
  end
  if s.children then
    set(f, 'ch', 1)
    local key = K.children(t, id)
    spread('RPUSH', key, s.children)
    call('LTRIM', key, -MAX_CHILDREN, -1)
  end
  if s.log then
    local key = K.log(t, id)
    call('RPUSH', key, s.log)
    call('LTRIM', key, -MAX_LOGS, -1)
  end
  for _, grown in ipairs(s.grown or NONE) do grow(t, grown.group, grown.parts) end
  local plan = s.plan
  if plan then
    if #plan.tasks > 0 then
      local key = K.descendants(t, r.ro or id)
      call('INCRBY', key, #plan.tasks)
      call('EXPIRE', key, TTL + 86400)
    end
    store_joins(t, plan)
  end
  if s.swap then
    swap(f, t, id, r, s.swap, now)
  elseif s.requeue then
    local raw = s.element
    local pos = int(next_of('pos'))
    to_line(f, t, id, r.n, { q = r.q, pr = tonumber(r.pr or 0), el = raw, inl = r.inl }, pos, now)
  end
  write_row(t, id, f)
  if plan then store_tasks(t, plan, now) end
  if s.meta then put_meta(t, id, s.meta) end
  if s.arrival then advance(t, id, r.th, s.arrival, s.follower, now) end
end
