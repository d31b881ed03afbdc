-- Whose is something that ended?

local text = call('HGET', K.ending, A.key)
return text and cmsgpack.unpack(text).t
