-- Puts back what a Celery worker took and gave no sign of for the visibility timeout, as any of its kind does. How much that was, and
-- whether there may be more.

local t = 'default'
if call('EXISTS', K.unacked_mutex(t)) == 1 then return { 0, 0 } end
local time = call('TIME')
local before = time[1] - VISIBILITY
local restored = 0

-- The queues that a message with this key goes to, as kombu has them; none: by a pattern, perhaps, which is for kombu to read.
local function queues_of(exchange, key)
  if exchange == '' then return { key } end
  local queues = {}
  for _, bound in ipairs(lenient('SMEMBERS', K.binding(t, exchange)) or {}) do
    local first, last = bound:find(SEP, 1, true)
    local _, behind = bound:find(SEP, (last or #bound) + 1, true)
    if behind and bound:sub(1, first - 1) == key then queues[#queues + 1] = bound:sub(behind + 1) end
  end
  return queues
end

-- The priority that stands among the last properties, where kombu writes it, or somewhere else.
local function priority_of(text, to)
  local last = text:sub(to - 1000, to):match('.*"priority": (%d+)')
  if last then return tonumber(last) end
  local is_read, msg = pcall(cjson.decode, text:sub(2, to))
  local properties = is_read and type(msg) == 'table' and type(msg.properties) == 'table' and msg.properties or {}
  return tonumber(properties.priority) or 0
end

local tags = lenient('ZRANGE', K.unacked_index(t), '-inf', before, 'BYSCORE', 'LIMIT', 0, 100) or {}
for _, tag in ipairs(tags) do
  if is_enough_back() then break end
  local text = tag:sub(1, 7) ~= 'lovage-' and lenient('HGET', K.unacked(t), tag)
  local exchange, key
  if text and text:sub(1, 2) == '[{' then exchange, key = text:sub(-600):match('}, "([^"]*)", "([^"]+)"%]$') end
  local queues = key and queues_of(exchange, key)
  back_bytes = back_bytes + #(text or '')
  if queues and #queues > 0 then
    lenient('HDEL', K.unacked(t), tag)
    lenient('ZREM', K.unacked_index(t), tag)
    -- Behind the message there are `, "<exchange>", "<key>"]`.
    local to = -#exchange - #key - 10
    local raw, step = redelivered('{', text, 3, to), step_of(priority_of(text, to))
    for _, q in ipairs(queues) do lenient('RPUSH', K.list(t, q, step), raw) end
    restored = restored + 1
  elseif not text and lenient('HEXISTS', K.unacked(t), tag) ~= 1 then
    lenient('ZREM', K.unacked_index(t), tag)
  end
end
return { restored, restored > 0 and is_enough_back() and 1 or 0 }
