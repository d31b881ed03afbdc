-- What is each key called? Scripts name keys here alone; the texts before this one give G (the global prefix), R (that of results), LISTS (what
-- is behind the name of a queue, for each of STEPS), UNACKED, UNACKED_INDEX and UNACKED_MUTEX. The host names some itself, by the same rules: the lists
-- that it watches, the bell, what is said to everybody, the answers of remote control with their bindings, results of tasks that nobody has
-- seen, and `lovage:health`, where it tries whether the server takes writes.
--
-- Celery's keys of tenant `default` are plain below G; those of any other tenant T are the same below `G lovage:{T}:`, where its clients
-- write. What is ours of that tenant is below `G lovage:of:{T}:`, where they do not: a key of another type would end a script that has
-- done half of its work for all tenants, and there is what the tenant may use. What is ours of `default`, and of all, is below `G lovage:`.
-- Celery's backends have a prefix of their own: for what they read, R stands in the place of G.

-- Looked up once, not at each use.
local format, tonumber, ipairs, pairs, unpack = string.format, tonumber, ipairs, pairs, unpack

local OURS = G .. 'lovage:'

-- Of all tenants.
local OF_ALL = {
  counters = 'counters',   -- hash: schema, opens, number, pos, key, part, registry, modules, periodic
  hosts = 'hosts',         -- hash: number of an opening (hex) -> the host that opened
  tenants = 'tenants',     -- hash: tenant -> how many tasks and modules it has
  waiting = 'waiting',     -- hash: tenant -> how many of its tasks wait
  timed = 'timed',         -- hash: tenant -> how many of those wait for their time
  queues = 'queues',       -- zset: "T\0queue" by when it was used last, micros: where leases look
  paused = 'paused',       -- set: "T\0queue"
  leases = 'leases',       -- zset: delivery tag by when the lease lapses, micros
  scheduled = 'scheduled', -- zset: "<pos>\0T\0id" by when it is due, micros
  ended = 'ended',         -- zset: "<number>\0T\0id" by when the task ended, micros
  ends = 'ends',           -- zset: key of an end with followers, by itself
  ending = 'ending',       -- hash: that key -> what ended
  groups = 'groups',       -- zset: "T\0id" of a saved group by when it was saved, micros
  periodic = 'periodic',   -- hash: "T\0name" -> the entry
  runs = 'runs',           -- hash: "T\0name" -> "<last slot> <at> <count>"
  users = 'components',    -- hash: digest -> how many versions have it
  registered = 'registered', -- hash: tenant -> what it may use, JSON
  tokens = 'tokens',       -- hash: id of a token -> what it is known by, JSON
  dead = 'dead',           -- list: messages that nobody can read, the newest first
  bell = 'bell',           -- channel: who must look again
}

-- Of one tenant; most have something behind them.
local OF_TENANT = {
  task = 'task:',               -- id; hash: what is known of a task; the fields are in rows.lua
  log = 'log:',                 -- id; list: the logs of its attempts
  children = 'children:',       -- id; list: the tasks that it sent
  descendants = 'descendants:', -- root; string: how many tasks come from a call
  metered = 'metered',          -- hash: "<day since 1970>:<what>" -> how much; what: a(ttempts) f(uel) c(pu, micros) m(emory, KiB times millis)
  values = 'values:',           -- bucket; hash: key -> value
  value_keys = 'value-keys:',   -- bucket; zset: its keys, all of score 0
  value_buckets = 'value-buckets', -- set: the buckets that have values
  value_room = 'value-room',    -- string: how much all values and saved groups of a tenant take, bytes
  group_sizes = 'group-sizes',  -- hash: id of a saved group -> what it takes of that
  tasks = 'tasks',              -- zset: its tasks by number
  lines = 'lines',              -- hash: "queue\0kind" -> how many messages; kinds: r(eady) s(cheduled) b(locked) l(eased), and x: elements of no worth
  later = 'later:',             -- queue; zset: the scheduled of one queue, as in K.scheduled
  blocked = 'blocked:',         -- id; zset: ids of those that wait for something, by number
  stamp = 'stamp:',             -- label; zset: ids of the tasks that have not ended with a stamp, by number
  join = 'join:',               -- id; hash: size, n (parts that came), by (how long their ends are together), done, th (what it is for)
  parts = 'parts:',             -- id; hash: part -> "index\0seq\0arrival"
  modules = 'modules',          -- hash: module -> its versions, JSON
}

-- Of one tenant, and Celery's.
local OF_CELERY = {
  unacked = UNACKED,
  unacked_index = UNACKED_INDEX,
  unacked_mutex = UNACKED_MUTEX,
  binding = '_kombu.binding.',    -- exchange; set: "routing key<SEP>pattern<SEP>queue"
}

-- Of one tenant, and of Celery's result backend, whose prefix may be another.
local OF_BACKEND = {
  meta = 'celery-task-meta-',     -- id
  group = 'celery-taskset-meta-', -- id
}

-- What the keys of each tenant begin with.
local celery, backend, own = { default = G }, { default = R }, { default = OURS }

local function beginning(known, t, before)
  local text = known[t] or before .. '{' .. t .. '}:'
  known[t] = text
  return text
end

-- The key, or a function of the tenant and what is behind the name that gives it. Made where it is asked for: a script needs few.
local function named(keys, name)
  local all, of, theirs, results = OF_ALL[name], OF_TENANT[name], OF_CELERY[name], OF_BACKEND[name]
  local key = all and OURS .. all
    or of and function(t, rest) return (own[t] or beginning(own, t, OURS .. 'of:')) .. of .. (rest or '') end
    or theirs and function(t, rest) return (celery[t] or beginning(celery, t, OURS)) .. theirs .. (rest or '') end
    or results and function(t, rest) return (backend[t] or beginning(backend, t, R .. 'lovage:')) .. results .. (rest or '') end
  keys[name] = key
  return key
end

local K = setmetatable({}, { __index = named })

-- string: the bytes of a component
function K.component(digest) return OURS .. 'component:' .. digest end

-- The list of a queue's step: the last step that is not above the priority.
local function step_of(priority)
  local found = 1
  for i = 2, #STEPS do
    if STEPS[i] <= priority then found = i end
  end
  return found
end

function K.list(t, q, step) return (celery[t] or beginning(celery, t, OURS)) .. q .. LISTS[step] end
