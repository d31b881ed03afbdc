-- Applies one step of dealing with those that wait for something that ended, whole or not at all.

local text = call('HGET', K.ending, A.key)
if not text then return cmsgpack.pack({ kind = 'refused' }) end
local ended = cmsgpack.unpack(text)
local t, id = ended.t, ended.id

local function forget_end()
  call('HDEL', K.ending, A.key)
  call('ZREM', K.ends, A.key)
end

-- Whether the body of a chord is still to be sent. A claim lapses, what is kept here does not: somebody else may have sent it since.
local function is_open()
  local base = K.group(t, id)
  local claim = lenient('GET', base .. '.c')
  return call('EXISTS', base .. '.j') == 1 and (not claim or claim:sub(1, 7) == 'lovage-')
end

if ended.kind == 'chord' and not is_open() then
  forget_end()
  return cmsgpack.pack({ kind = 'refused' })
end

local function follower(fid)
  local r = read_row(t, fid)
  if r and r.pl == 'b' and r.aw == id then return r end
end

local publish = { tasks = {}, joins = {} }
for _, one in ipairs(A.followed) do
  local plan = one.settled and one.settled.plan
  if plan and follower(one.id) then
    for _, d in ipairs(plan.tasks) do publish.tasks[#publish.tasks + 1] = d end
    for _, join in ipairs(plan.joins) do publish.joins[#publish.joins + 1] = join end
  end
end
local taken = clash(t, publish)
if taken then return cmsgpack.pack({ kind = 'taken', id = taken }) end

for _, one in ipairs(A.followed) do
  local r = follower(one.id)
  if r and one.released then
    release(t, one.id, r, one.released, A.now)
  elseif r then
    conclude(t, one.id, r, one.settled)
  end
end
local is_left = call('EXISTS', K.blocked(t, id)) == 1
if A.part and ended.kind == 'join' then
  local index, group = (call('HGET', K.join(t, id), 'th') or ''):match('^P(%d+):(.*)$')
  if group then count_part(t, group, id, index, A.part) end
end
if A.inline then apply_inline(t, A.inline, A.now) end
if A.done and is_left then
  rings.ended = true
elseif A.done then
  forget_end()
  if ended.kind == 'join' then call('DEL', K.join(t, id), K.parts(t, id)) end
  if ended.kind == 'chord' then close_chord(t, id, A.inline and #A.inline.ends > 0) end
end
finish()
return cmsgpack.pack({ kind = 'applied', rings = told() })
