-- Everything that is known of some tasks: of those named, or of a page of the newest that a filter lets through.

local WHOLE = { 'n', 'm', 'raw', 'q', 'st', 'pl', 'de', 'lw', 'own', 'ownm', 'wo', 'sub', 'en', 're', 'tb', 'fa', 'us',
  'ch', 'aw', 'ag' }

-- A row, and how long all that it has is together.
local function whole(t, id)
  local v = call('HMGET', K.task(t, id), unpack(WHOLE))
  if not v[1] then return nil, 0 end
  local row, bytes = { id = id }, 0
  for i, name in ipairs(WHOLE) do
    if v[i] then
      row[name] = v[i]
      bytes = bytes + #v[i]
    end
  end
  if row.ch then
    row.children = call('LRANGE', K.children(t, id), 0, -1)
    for _, child in ipairs(row.children) do bytes = bytes + #child end
  end
  return row, bytes
end

if A.ids then
  local rows = {}
  for _, id in ipairs(A.ids) do rows[#rows + 1] = (whole(A.tenant, id)) end
  return cmsgpack.pack({ rows = rows })
end

local function is_wanted(t, id)
  local v = call('HMGET', K.task(t, id), 'pl', 'own', 'ut', 'st', 'na', 'q')
  if not v[1] then return false end
  if A.state then
    local is = status({ pl = v[1], own = v[2] or nil, ut = v[3] or nil, st = v[4] })
    if is ~= A.state then return false end
  end
  return (not A.name or v[5] == A.name) and (not A.queue or v[6] == A.queue)
end

local rows, last, bytes = {}, nil, 0
local from = A.before and '(' .. A.before or '+inf'
local page = call('ZRANGE', K.tasks(A.tenant), from, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, A.page, 'WITHSCORES')
for i = 1, #page, 2 do
  if #rows == A.limit or bytes >= MAX_LISTED then break end
  last = page[i + 1]
  if is_wanted(A.tenant, page[i]) then
    local row, size = whole(A.tenant, page[i])
    bytes = bytes + size
    rows[#rows + 1] = row
  end
end
return cmsgpack.pack({ rows = rows, last = last and tonumber(last), over = #page < 2 * A.page and (#page == 0 or last == page[#page]) })
