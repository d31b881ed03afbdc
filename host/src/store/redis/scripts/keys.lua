-- What is each key called? The only place that knows; the texts before this one give G (the global prefix), R (that of results),
-- STEPS, SEP, UNACKED and UNACKED_INDEX.
--
-- Celery's keys of tenant `default` are plain below G; those of any other tenant T are the same below `G lovage:{T}:`, where its clients
-- write. What is ours of that tenant is below `G lovage:of:{T}:`, where they do not: a key of another type would end a script that has
-- done half of its work for all tenants, and there is what the tenant may use. What is ours of `default`, and of all, is below `G lovage:`.
-- Celery's backends have a prefix of their own: for what they read, R stands in the place of G.

-- Looked up once, not at each use.
local format, tonumber, ipairs, pairs, unpack = string.format, tonumber, ipairs, pairs, unpack

local OURS = G .. 'lovage:'

local function celery(t)
  if t == 'default' then return G end
  return OURS .. '{' .. t .. '}:'
end

local function backend(t)
  if t == 'default' then return R end
  return R .. 'lovage:{' .. t .. '}:'
end

local function own(t)
  if t == 'default' then return OURS end
  return OURS .. 'of:{' .. t .. '}:'
end

local K = {
  -- Of all tenants.
  counters = OURS .. 'counters',   -- hash: schema, opens, number, pos, key, part, registry, modules, periodic
  hosts = OURS .. 'hosts',         -- hash: number of an opening (hex) -> the host that opened
  tenants = OURS .. 'tenants',     -- hash: tenant -> how many tasks and modules it has
  waiting = OURS .. 'waiting',     -- hash: tenant -> how many of its tasks wait
  timed = OURS .. 'timed',         -- hash: tenant -> how many of those wait for their time
  queues = OURS .. 'queues',       -- zset: "T\0queue" by when it was used last, micros: where leases look
  paused = OURS .. 'paused',       -- set: "T\0queue"
  leases = OURS .. 'leases',       -- zset: delivery tag by when the lease lapses, micros
  scheduled = OURS .. 'scheduled', -- zset: "<pos>\0T\0id" by when it is due, micros
  ended = OURS .. 'ended',         -- zset: "<number>\0T\0id" by when the task ended, micros
  ends = OURS .. 'ends',           -- zset: key of an end with followers, by itself
  ending = OURS .. 'ending',       -- hash: that key -> what ended
  groups = OURS .. 'groups',       -- zset: "T\0id" of a saved group by when it was saved, micros
  periodic = OURS .. 'periodic',   -- hash: "T\0name" -> the entry
  runs = OURS .. 'runs',           -- hash: "T\0name" -> "<last slot> <at> <count>"
  users = OURS .. 'components',    -- hash: digest -> how many versions have it
  registered = OURS .. 'registered', -- hash: tenant -> what it may use, JSON
  tokens = OURS .. 'tokens',       -- hash: id of a token -> what it is known by, JSON
  dead = OURS .. 'dead',           -- list: messages that nobody can read, the newest first
  bell = OURS .. 'bell',           -- channel: who must look again
}

-- hash: what is known of a task; the fields are in rows.lua
function K.task(t, id) return own(t) .. 'task:' .. id end
-- list: the logs of its attempts
function K.log(t, id) return own(t) .. 'log:' .. id end
-- list: the tasks that it sent
function K.children(t, id) return own(t) .. 'children:' .. id end
-- string: how many tasks come from a call
function K.descendants(t, root) return own(t) .. 'descendants:' .. root end
-- hash: "<day since 1970>:<what>" -> how much; what: a(ttempts) f(uel) c(pu, micros) m(emory, KiB times millis)
function K.metered(t) return own(t) .. 'metered' end
-- hash: key -> value, of one bucket
function K.values(t, bucket) return own(t) .. 'values:' .. bucket end
-- zset: its keys, all of score 0
function K.value_keys(t, bucket) return own(t) .. 'value-keys:' .. bucket end
-- set: the buckets that have values
function K.value_buckets(t) return own(t) .. 'value-buckets' end
-- string: how much all values of a tenant take, bytes
function K.value_room(t) return own(t) .. 'value-room' end
-- zset: its tasks by number
function K.tasks(t) return own(t) .. 'tasks' end
-- hash: "queue\0kind" -> how many messages; kinds: r(eady) s(cheduled) b(locked) l(eased), and x: elements of no worth
function K.lines(t) return own(t) .. 'lines' end
-- zset: the scheduled of one queue, as in K.scheduled
function K.later(t, q) return own(t) .. 'later:' .. q end
-- zset: ids of those that wait for something, by number
function K.blocked(t, id) return own(t) .. 'blocked:' .. id end
-- zset: ids of the tasks that have not ended with a stamp, by number
function K.stamp(t, label) return own(t) .. 'stamp:' .. label end
-- hash: size, n (parts that came), by (how long their ends are together), done, th (what it is for)
function K.join(t, id) return own(t) .. 'join:' .. id end
-- hash: part -> "index\0seq\0arrival"
function K.parts(t, id) return own(t) .. 'parts:' .. id end
-- hash: module -> its versions, JSON
function K.modules(t) return own(t) .. 'modules' end
-- string: the bytes of a component
function K.component(digest) return OURS .. 'component:' .. digest end

-- Celery's.
function K.unacked(t) return celery(t) .. UNACKED end
function K.unacked_index(t) return celery(t) .. UNACKED_INDEX end
function K.unacked_mutex(t) return celery(t) .. UNACKED_MUTEX end
function K.meta(t, id) return backend(t) .. 'celery-task-meta-' .. id end
-- set: "routing key<SEP>pattern<SEP>queue"
function K.binding(t, exchange) return celery(t) .. '_kombu.binding.' .. exchange end
function K.group(t, id) return backend(t) .. 'celery-taskset-meta-' .. id end

-- The list of a queue's step: the last step that is not above the priority.
local function step_of(priority)
  local found = 1
  for i = 2, #STEPS do
    if STEPS[i] <= priority then found = i end
  end
  return found
end

function K.list(t, q, step)
  local n = STEPS[step]
  if n == 0 then return celery(t) .. q end
  return celery(t) .. q .. SEP .. n
end
