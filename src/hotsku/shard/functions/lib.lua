#!lua name=hotsku

-- What every function of the library shares: the volatile fence, the partition's meta hash, its two buckets, its clock.
-- `records.lua` follows, and then the other files of this folder, one operation each; the loader puts them together as
-- they are.

-- The volatile fence: meta key -> {incarnation, seq, busy}. It is memory of this process alone: neither persisted nor
-- replicated. So it is empty after a crash, a failover or a reload, and it differs from the stored incarnation and seq
-- when the data went back in time under it. Every function that changes a partition compares the two first.
local armed = {}

-- Names this memory: another restart, promotion or reload has another name. Who proves something about a shard reads it
-- first and hands it in with what follows from the proof, so that a call which is late by a restart proves nothing.
local memory_name = nil

local function name_memory()
  if not memory_name then
    local time = redis.call('TIME')
    memory_name = time[1] .. '.' .. time[2]
  end
  return memory_name
end

-- The fields of a meta hash. All are integers but `active` ("a" or "b"); 0 is "none" in limit, opens_at and closes_at.
-- `version`, `limit`, `opens_at`, `closes_at`, `state` and `restores` are the item's configuration: `state` is one of
-- OPEN, PAUSED and CLOSED, `restores` is 1 where a refund gives the buyer's count back.
local FIELDS = {
  'incarnation', 'seq', 'active', 'left_a', 'left_b', 'threshold', 'installed', 'taken', 'returned', 'lease_no',
  'reclaim_no', 'reclaimed', 'trimmed', 'limit', 'opens_at', 'closes_at', 'clock', 'sealed', 'ended', 'version',
  'state', 'restores',
}

local OPEN, PAUSED, CLOSED = 0, 1, 2

-- `unpack` fails at about 8,000 values, and that would be after the first write.
local MAX_BATCH = 1000
local MAX_QUANTITY = 1e9

-- More than this between the stored clock and the real one is no clock to sell by.
local MAX_CLOCK_SKEW_MS = 5000

-- An argument that must be an integer. "nan", "inf" and "1.5" are numbers to `tonumber`, and pass comparisons that they
-- should not; so they end the call here, before it has written anything.
local function integer(argument)
  local number = tonumber(argument)
  if not number or number % 1 ~= 0 then error(redis.error_reply('HOTSKU an argument is not an integer')) end
  return number
end

local function read_partition(meta_key)
  local values = redis.call('HMGET', meta_key, unpack(FIELDS))
  if not values[1] then return nil end
  local p = {}
  for i = 1, #FIELDS do p[FIELDS[i]] = tonumber(values[i]) end
  p.active = values[3]
  -- A partition that was begun by an earlier version of the library lacks them.
  p.version, p.state, p.restores = p.version or 0, p.state or OPEN, p.restores or 0
  return p
end

-- Returns the partition and its fence, or nil and the refusal to reply. What was ended (see end.lua) stays so: its slot
-- may have been ended on another server, and come back to one that is armed for it. `read`: a reader of fewer fields than
-- `read_partition`; incarnation, seq and ended must be among them.
local function pass_fence(meta_key, incarnation, read)
  local p, fence = (read or read_partition)(meta_key), armed[meta_key]
  if not p or not fence or fence.busy or p.ended == 1 or fence.incarnation ~= p.incarnation or fence.seq ~= p.seq then
    return nil, {'FENCED'}
  end
  if incarnation < p.incarnation then return nil, {'STALE', p.incarnation} end
  if incarnation > p.incarnation then return nil, {'FENCED'} end
  return p, fence
end

-- Orders, buyers and holds each have a mark among their members: the incarnation that last began with all of them. A key
-- that was deleted, evicted or set back alone lacks it, also where it has been written to since, and so does one that is
-- being loaded; fence and meta would not tell. No id has a space; and the holds' mark is behind all holds.
local MARK, BEHIND_ALL = ' ', 9e15

-- KEYS of a partition as in step.lua.
local function write_marks(keys, incarnation)
  redis.call('HSET', keys[2], MARK, incarnation)
  redis.call('HSET', keys[3], MARK, incarnation)
  redis.call('ZADD', keys[5], BEHIND_ALL, MARK)
end

local function remove_marks(keys)
  redis.call('HDEL', keys[2], MARK)
  redis.call('HDEL', keys[3], MARK)
  redis.call('ZREM', keys[5], MARK)
end

local function is_marked(value, incarnation)
  return tonumber(value) == incarnation
end

-- Whether what lies beside the meta hash is all there. A key of another kind is not: it is somebody else's.
local function has_all(keys, incarnation)
  return is_marked(redis.pcall('HGET', keys[2], MARK), incarnation)
    and is_marked(redis.pcall('HGET', keys[3], MARK), incarnation)
    and redis.pcall('ZRANGE', keys[5], -1, -1)[1] == MARK
end

-- A partition of which something is missing decides nothing more: its recoverer has it rebuilt.
local function fence_broken(meta_key)
  armed[meta_key] = nil
  return {'FENCED'}
end

-- The server's clock: milliseconds since the epoch.
local function server_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The server's clock `now`, never backwards for this partition; nil when the stored clock is too far ahead of it.
local function clamp_clock(p, now)
  if p.clock > now + MAX_CLOCK_SKEW_MS then return nil end
  return math.max(now, p.clock)
end

local function read_clock(p)
  return clamp_clock(p, server_ms())
end

-- Whether a new incarnation has begun whose orders are not all there yet; see renew.lua.
local function is_rebuilding(meta_key)
  return redis.call('HGET', meta_key, 'rebuilding') == '1'
end

-- An item's configuration, as six arguments of a call: version, limit per buyer (0 none), opens at, closes at (ms since
-- the epoch, 0 none), state (0 open, 1 paused, 2 closed), restores (0 or 1).
local CONFIGURATION = {'version', 'limit', 'opens_at', 'closes_at', 'state', 'restores'}

local function read_configuration(args, first)
  local configuration = {}
  for i = 1, #CONFIGURATION do configuration[CONFIGURATION[i]] = integer(args[first + i - 1]) end
  if configuration.state < OPEN or configuration.state > CLOSED then
    error(redis.error_reply('HOTSKU state must be 0, 1 or 2'))
  end
  return configuration
end

-- The newest configuration that was heard of: `configuration`, or the partition's own (`p`, which may be nil).
local function newest_configuration(p, configuration)
  if p and p.version > configuration.version then return p end
  return configuration
end

local function write_configuration(meta_key, configuration)
  local written = {}
  for i = 1, #CONFIGURATION do
    written[2 * i - 1], written[2 * i] = CONFIGURATION[i], configuration[CONFIGURATION[i]]
  end
  redis.call('HSET', meta_key, unpack(written))
end

-- A partition with nothing in its buckets.
local function write_empty(meta_key, incarnation, configuration, clock, rebuilding)
  write_configuration(meta_key, configuration)
  redis.call('HSET', meta_key,
    'incarnation', incarnation, 'seq', 0, 'active', 'a', 'left_a', 0, 'left_b', 0, 'threshold', 1,
    'installed', 0, 'taken', 0, 'returned', 0, 'lease_no', 0, 'reclaim_no', 0, 'reclaimed', 0, 'trimmed', 0,
    'clock', clock, 'sealed', -1, 'rebuilding', rebuilding, 'ended', 0)
end

local function standby_of(p)
  if p.active == 'a' then return 'left_b' else return 'left_a' end
end

-- Swaps the buckets when the active one is below the threshold and the standby has stock worth a switch: a leftover
-- below the threshold waits until the active one is empty, or the two would swap at every order near the end.
local function switch_buckets(p)
  local active, standby = 'left_' .. p.active, standby_of(p)
  if p[active] < p.threshold and (p[standby] >= p.threshold or (p[active] == 0 and p[standby] > 0)) then
    p.active = p.active == 'a' and 'b' or 'a'
  end
end

-- Takes units that are there, from the active bucket first; one call may draw on both.
local function take_units(p, quantity)
  local active, standby = 'left_' .. p.active, standby_of(p)
  local first = math.min(p[active], quantity)
  p[active] = p[active] - first
  p[standby] = p[standby] - (quantity - first)
  p.taken = p.taken + quantity
  switch_buckets(p)
end

local function wants_refill(p)
  return p[standby_of(p)] < p.threshold
end

-- One stream entry carries the events of one call; its id is <incarnation>-<last seq>. False where a stream is gone that
-- had events up to `seq_before` which the ledger lacks: it is not made anew, for nobody could follow it. Called before
-- all that it tells of is written: nothing is decided then; and where one of those writes fails, at a key of another kind,
-- the stream is ahead of seq, so that nobody takes what is half done for all.
local function append_events(stream_key, p, seq_before, kind, now, events)
  local id = string.format('%d-%d', p.incarnation, p.seq)
  if seq_before > p.trimmed then
    return redis.call('XADD', stream_key, 'NOMKSTREAM', id, 'k', kind, 't', now, 'e', events)
  end
  return redis.call('XADD', stream_key, id, 'k', kind, 't', now, 'e', events)
end

-- The incarnation and the seq of the last entry that the stream ever had; 0 and 0 where it had none.
local function last_event(stream_key)
  if redis.call('EXISTS', stream_key) == 0 then return 0, 0 end
  local info = redis.pcall('XINFO', 'STREAM', stream_key)
  if info.err then return 0, 0 end -- it is no stream
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local incarnation, seq = string.match(info[i + 1], '^(%d+)-(%d+)$')
      return tonumber(incarnation), tonumber(seq)
    end
  end
end

-- Whether a stream with that last event ends at the partition's seq.
local function has_stream(p, stream_incarnation, stream_seq)
  if stream_incarnation < p.incarnation then stream_seq = 0 end -- it has no event of this incarnation yet
  return stream_incarnation <= p.incarnation and stream_seq == p.seq
end
