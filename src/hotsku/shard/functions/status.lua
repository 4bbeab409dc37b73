-- hs_status: one partition as it stands, read at one instant.
-- KEYS  as in step.lua
-- Reply flat array of names and values: the meta hash's fields, and armed_incarnation, armed_seq (absent when unarmed),
--       whole (1 where stream, orders, buyers and holds are all there, else 0), stream_incarnation, stream_seq, orders,
--       holds, now_ms. Empty when the shard does not have the partition. What is not whole, or is over, is not armed,
--       whatever its fence says: it needs a recoverer.

-- How many members a key has without its mark; 0 where it is of another kind.
local function count_members(count, key, marked)
  local members = redis.pcall(count, key)
  return type(members) == 'number' and members - (marked and 1 or 0) or 0
end

local function read_status(keys)
  local reply = redis.call('HGETALL', keys[1])
  if #reply == 0 then return reply end
  local function add(name, value)
    reply[#reply + 1] = name
    reply[#reply + 1] = value
  end
  local p, fence = read_partition(keys[1]), armed[keys[1]]
  local stream_incarnation, stream_seq = last_event(keys[4])
  local whole = p and has_all(keys, p.incarnation) and has_stream(p, stream_incarnation, stream_seq)
  add('whole', whole and 1 or 0)
  if fence and not fence.busy and whole and p.ended ~= 1 then
    add('armed_incarnation', fence.incarnation)
    add('armed_seq', fence.seq)
  end
  add('stream_incarnation', stream_incarnation)
  add('stream_seq', stream_seq)
  add('orders', count_members('HLEN', keys[2], redis.pcall('HGET', keys[2], MARK)))
  add('holds', count_members('ZCARD', keys[5], redis.pcall('ZRANGE', keys[5], -1, -1)[1] == MARK))
  add('now_ms', server_ms())
  return reply
end

redis.register_function{function_name = 'hs_status', callback = read_status, flags = {'no-writes'}}
