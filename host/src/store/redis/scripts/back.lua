-- Messages that go back to where they were: leases that lapse or are given up, times that have come.

-- How many bytes go back in this call. Whatever else is due once that is enough is due in the next one.
local back_bytes = 0

local function is_enough_back() return back_bytes >= MAX_MOVED end

local function position(raw) return tonumber(raw:match('^{"lovage": "(%d+)/')) end

-- What is between two places of a text, behind another text, as a message that says that it is delivered again.
local function redelivered(before, text, from, to)
  local _, at = text:find('"delivery_info": {', 1, true)
  local says_more = at and text:sub(at + 1, at + 1) == '"' and text:sub(at + 1, at + 13) ~= '"redelivered"'
  if not says_more then return before .. text:sub(from, to) end
  return before .. text:sub(from, at) .. '"redelivered": true, ' .. text:sub(at + 1, to)
end

-- A message that was held, as it goes back to its place in the line.
local function returned(text, r, t, id, again)
  local before, to = is_marked(text) and '{' or mark(r.pos, t, id), -#r.q - 10
  if again then return redelivered(before, text, 3, to) end
  return before .. text:sub(3, to)
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

local function back(key, pos, raw) add_to(backs, back_order, key, { pos = tonumber(pos), raw = raw }) end

local function put_back()
  for _, key in ipairs(back_order) do restore(key, backs[key]) end
  backs, back_order = {}, {}
end

-- Writes that a message is in its line again.
local function ready_again(f, t, id, r, raw, now)
  if raw then
    back(K.list(t, r.q, step_of(tonumber(r.pr or 0))), r.pos, raw)
    back_bytes = back_bytes + #raw
  end
  in_line(f, t, id, r.n, r, now)
end

-- Ends a lease without an outcome; what was held, if nobody took it back before.
local function end_lease(f, t, id, r)
  local text = lenient('HGET', K.unacked(t), r.tag)
  if text then lenient('HDEL', K.unacked(t), r.tag) end
  take(t, id, r)
  if r.own then
    forget_field(f, 'own')
    forget_field(f, 'ownm')
  end
  return text
end

-- Puts the message of a lost host back to its old place.
local function give_back(t, id, r, now)
  local f = {}
  local text = end_lease(f, t, id, r)
  set(f, 'wo', r.lw)
  ready_again(f, t, id, r, text and returned(text, r, t, id, true), now)
  write_row(t, id, f)
end

local function of_tag(tag) return tag:match('^lovage%-%x+/([^/]+)/(.*)$') end

-- Ends a lease that has lapsed.
local function lapse(tag, now)
  local t, id = of_tag(tag)
  local r = t and read_row(t, id)
  if r and r.pl == 'l' and r.tag == tag then
    give_back(t, id, r, now)
    return
  end
  call('ZREM', K.leases, tag)
  local text = t and lenient('HGET', K.unacked(t), tag)
  -- The name of a queue has 128 bytes at most.
  local q = text and text:sub(-160):match(', "", "([^"]*)"%]$')
  if q then
    -- Nobody had read it yet.
    back_bytes = back_bytes + #text
    lenient('HDEL', K.unacked(t), tag)
    lenient('ZREM', K.unacked_index(t), tag)
    count(t, q, 'l', -1)
    lenient('RPUSH', K.list(t, q, 1), unheld(text, q))
    rings.ready = true
  end
end

-- Moves a message that waits for its time into its line; it is ready since then, or since another time.
local function to_its_line(t, id, r, now, since)
  local el = call('HGET', K.task(t, id), 'el')
  local f = {}
  take(t, id, r)
  forget_field(f, 'el')
  if since then set(f, 'si', int(since)) end
  ready_again(f, t, id, r, element(r.pos, t, id, el), now)
  write_row(t, id, f)
end

-- The same, if a member of the set of what is scheduled is still that of a message.
local function promote(member, now)
  local pos, t, id = member:match('^(%d+)%z([^%z]+)%z(.*)$')
  local r = read_row(t, id)
  if not r or r.pl ~= 's' or tonumber(r.pos) ~= tonumber(pos) then
    call('ZREM', K.scheduled, member)
    return
  end
  to_its_line(t, id, r, now)
end
