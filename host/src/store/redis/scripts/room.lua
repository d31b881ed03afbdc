-- How much may all values and saved groups of a tenant take?

-- Takes room for something instead of what took so much before, if there is any: what takes no more than that always has some.
local function take_room(t, before, after, most)
  local room = K.value_room(t)
  local taken = tonumber(call('GET', room) or 0)
  if after > before and taken - before + after > most then return false end
  call('INCRBY', room, int(after - before))
  return true
end
