-- What does a lease read of a message of a client's? Its id, its task, its retries and its root; all else is the host's to read.

-- Whether an id can be one.
-- (Of others than these the host says what they are.)
local function is_id(id) return type(id) == 'string' and #id > 0 and #id <= 255 and id:find('^[!-~]+$') ~= nil end

local function text_of(value) return type(value) == 'string' and value or nil end

-- What Celery writes between the body and the name of the task.
local HEAD = '", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"lang": "py", "task": "'

-- The id, the task, the retries and the root of a message that is written as Celery writes it, for less than half of what it costs to read
-- the whole; nothing, if it is not so: an escape, or a second id, may say something else.
local function glance(raw)
  local from = raw:sub(1, 10) == '{"body": "' and raw:find('"', 11, true)
  if not from or raw:sub(from, from + #HEAD - 1) ~= HEAD or raw:find('\\', 1, true) then return nil end
  local task, id, at = raw:match('^([^"]*)", "id": "([^"]*)"()', from + #HEAD)
  if not id or raw:find('"id"', at, true) or raw:find('"headers"', at, true) then return nil end
  local _, retries = raw:find('"retries": ', at, true)
  local _, root = raw:find('"root_id": "', at, true)
  if not retries or not root then return nil end
  return id, task, tonumber(raw:match('^%d+', retries + 1)), raw:match('^[^"]*', root + 1)
end

-- The same of any message, as far as it can be read.
local function read(raw)
  local is_read, msg = pcall(cjson.decode, raw)
  local h = is_read and type(msg) == 'table' and type(msg.headers) == 'table' and msg.headers
  if not h or raw:sub(1, 1) ~= '{' then return nil end
  return h.id, text_of(h.task), tonumber(h.retries), text_of(h.root_id)
end
