-- Messages of a tenant that wait for their time, the earliest first: of its own queues, however many others have. These are merged in
-- small pieces, so that no more is read of many queues than is told, but for a piece of each.

local t, PIECE = A.tenant, 8
-- The queues of which something is left: a heap, by the first of each.
local heap = {}

local function is_before(a, b)
  if a.at ~= b.at then return a.at < b.at end
  return a.member < b.member
end

-- Goes on to the next message of a queue; nothing, if there is none.
local function advance(queue)
  if queue.i > #queue.piece then
    queue.piece, queue.i = call('ZRANGE', queue.key, queue.from, queue.from + PIECE - 1, 'WITHSCORES'), 1
    queue.from = queue.from + PIECE
  end
  queue.member = queue.piece[queue.i]
  queue.at = queue.member and tonumber(queue.piece[queue.i + 1])
  queue.i = queue.i + 2
  return queue.member
end

-- Moves what is at a place of the heap behind all that come before it.
local function sink(i)
  local first = i
  for child = 2 * i, 2 * i + 1 do
    if heap[child] and is_before(heap[child], heap[first]) then first = child end
  end
  if first == i then return end
  heap[i], heap[first] = heap[first], heap[i]
  return sink(first)
end

for _, line in ipairs(call('HKEYS', K.lines(t))) do
  local q = line:match('^([^%z]*)%zs$')
  local queue = q and { key = K.later(t, q), from = 0, piece = {}, i = 1 }
  if queue and advance(queue) then heap[#heap + 1] = queue end
end
for i = math.floor(#heap / 2), 1, -1 do sink(i) end
local found, bytes = {}, 0
while heap[1] and #found < A.max and bytes < MAX_LISTED do
  local v = call('HMGET', K.task(t, heap[1].member:match('^%d+%z[^%z]+%z(.*)$')), 'm', 'si', 'raw', 'q', 'pl')
  if v[1] and v[5] == 's' then
    bytes = bytes + #v[1]
    found[#found + 1] = { m = v[1], si = v[2], raw = v[3] or nil, q = v[4] }
  end
  if not advance(heap[1]) then
    heap[1] = heap[#heap]
    heap[#heap] = nil
  end
  sink(1)
end
return cmsgpack.pack({ found = found })
