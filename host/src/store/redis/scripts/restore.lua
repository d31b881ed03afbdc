-- Puts back what a Celery worker took and gave no sign of for the visibility timeout, as any of its kind does.

local t = 'default'
if call('EXISTS', K.unacked_mutex(t)) == 1 then return 0 end
local time = call('TIME')
local before = time[1] - VISIBILITY
local restored = 0
for _, tag in ipairs(call('ZRANGE', K.unacked_index(t), '-inf', before, 'BYSCORE', 'LIMIT', 0, 100)) do
  local text = tag:sub(1, 7) ~= 'lovage-' and call('HGET', K.unacked(t), tag)
  local raw, q
  if text then raw, q = text:match('^%[({.*}), "[^"]*", "([^"]+)"%]$') end
  if raw then
    local is_read, msg = pcall(cjson.decode, raw)
    local properties = is_read and type(msg) == 'table' and type(msg.properties) == 'table' and msg.properties or {}
    call('HDEL', K.unacked(t), tag)
    call('ZREM', K.unacked_index(t), tag)
    call('RPUSH', K.list(t, q, step_of(tonumber(properties.priority) or 0)), redelivered(raw))
    restored = restored + 1
  elseif not call('HGET', K.unacked(t), tag) then
    call('ZREM', K.unacked_index(t), tag)
  end
end
return restored
