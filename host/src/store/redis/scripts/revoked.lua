-- How does a task end by an order?

-- What such an end leaves: the text of its meta and of its arrival are the same for all but for their ids.
local function revoked(t, id, r, now)
  local name = cjson.encode(id)
  conclude(t, id, r, {
    st = 'REVOKED', done = true, at = now, re = A.exception,
    meta = A.own_meta or (A.meta_head .. name .. A.meta_tail),
    arrival = '{"failed":{"task":' .. name .. ',"exception":' .. A.exception .. '}}',
  })
end

-- Ends a task if nobody runs it; what was found.
local function order_end(t, id, now)
  local r = read_row(t, id)
  if not r then return { kind = 'unknown' } end
  if r.pl == 'l' then return { kind = 'running', n = tonumber(r.n), token = token(r.tag) } end
  if r.pl == 'e' then return { kind = 'ended', state = r.st } end
  revoked(t, id, r, now)
  return { kind = 'waiting' }
end
