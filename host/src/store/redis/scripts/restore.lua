-- Puts back what a Celery worker took and gave no sign of for the visibility timeout, as any of its kind does.

local t = 'default'
if lenient('EXISTS', K.unacked_mutex(t)) == 1 then return 0 end
local time = call('TIME')
local before = time[1] - VISIBILITY
local restored = 0
for _, tag in ipairs(lenient('ZRANGE', K.unacked_index(t), '-inf', before, 'BYSCORE', 'LIMIT', 0, 100) or {}) do
  local text = tag:sub(1, 7) ~= 'lovage-' and lenient('HGET', K.unacked(t), tag)
  local raw, q
  -- What came by an exchange of another name is for kombu, who knows which queues that has.
  if text then raw, q = text:match('^%[({.*}), "", "([^"]+)"%]$') end
  if raw then
    local is_read, msg = pcall(cjson.decode, raw)
    local properties = is_read and type(msg) == 'table' and type(msg.properties) == 'table' and msg.properties or {}
    lenient('HDEL', K.unacked(t), tag)
    lenient('ZREM', K.unacked_index(t), tag)
    lenient('RPUSH', K.list(t, q, step_of(tonumber(properties.priority) or 0)), redelivered(raw))
    restored = restored + 1
  elseif not lenient('HGET', K.unacked(t), tag) then
    lenient('ZREM', K.unacked_index(t), tag)
  end
end
return restored
