-- Puts back what a Celery worker took and gave no sign of for the visibility timeout, as any of its kind does.

local t = 'default'
if call('EXISTS', K.unacked_mutex(t)) == 1 then return 0 end
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

for _, tag in ipairs(lenient('ZRANGE', K.unacked_index(t), '-inf', before, 'BYSCORE', 'LIMIT', 0, 100) or {}) do
  local text = tag:sub(1, 7) ~= 'lovage-' and lenient('HGET', K.unacked(t), tag)
  local raw, exchange, key
  if text then raw, exchange, key = text:match('^%[({.*}), "([^"]*)", "([^"]+)"%]$') end
  local queues = raw and queues_of(exchange, key)
  if queues and #queues > 0 then
    local is_read, msg = pcall(cjson.decode, raw)
    local properties = is_read and type(msg) == 'table' and type(msg.properties) == 'table' and msg.properties or {}
    lenient('HDEL', K.unacked(t), tag)
    lenient('ZREM', K.unacked_index(t), tag)
    for _, q in ipairs(queues) do
      lenient('RPUSH', K.list(t, q, step_of(tonumber(properties.priority) or 0)), redelivered(raw))
    end
    restored = restored + 1
  elseif not lenient('HGET', K.unacked(t), tag) then
    lenient('ZREM', K.unacked_index(t), tag)
  end
end
return restored
