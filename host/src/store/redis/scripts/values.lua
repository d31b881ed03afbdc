-- Values of a tenant, by bucket and key. What they take in all is counted.

local buckets, room = K.value_buckets(A.tenant), K.value_room(A.tenant)
local values, keys = K.values(A.tenant, A.bucket), K.value_keys(A.tenant, A.bucket)

if A.what == 'get' then return call('HGET', values, A.key) end
if A.what == 'keys' then
  return call('ZRANGEBYLEX', keys, A.is_first and '-' or '(' .. A.key, '+', 'LIMIT', 0, int(A.max))
end

if A.what == 'clear' then
  for _, bucket in ipairs(call('SMEMBERS', buckets)) do
    call('DEL', K.values(A.tenant, bucket), K.value_keys(A.tenant, bucket))
  end
  return call('DEL', buckets, room)
end

local function size(value)
  return value and #A.bucket + #A.key + #value + VALUE_OVERHEAD or 0
end

local there = call('HGET', values, A.key)

local function keep(value)
  if not take_room(A.tenant, size(there), size(value), A.most_bytes) then return false end
  call('HSET', values, A.key, value)
  call('ZADD', keys, 0, A.key)
  call('SADD', buckets, A.bucket)
  return true
end

if A.what == 'set' then return keep(ARGV[3] or '') and 1 or 0 end
if A.what == 'drop' then
  if not there then return 0 end
  call('HDEL', values, A.key)
  call('ZREM', keys, A.key)
  call('DECRBY', room, int(size(there)))
  if call('EXISTS', values) == 0 then call('SREM', buckets, A.bucket) end
  return 1
end

-- Only what counts of itself: no signs, no zeros before it. The server adds, since numbers are floats here.
if there and not (there == '0' or there:match('^[1-9]%d*$')) then return 'none' end
local added = redis.pcall('HINCRBY', values, A.key, A.by)
if type(added) == 'table' and added.err then
  if added.err:find('not an integer', 1, true) or added.err:find('overflow', 1, true) then return 'none' end
  -- Such as that there is no memory left.
  return added
end
local sum = call('HGET', values, A.key)
if not keep(sum) then
  if there then call('HSET', values, A.key, there) else call('HDEL', values, A.key) end
  return 'full'
end
return sum
