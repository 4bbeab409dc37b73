-- hs_status: one partition as it stands, read at one instant.
-- KEYS  1 meta (hash)   2 orders (hash)   3 stream (stream)   4 holds (zset)
-- Reply flat array of names and values: the meta hash's fields, and armed_incarnation, armed_seq (absent when unarmed),
--       stream_incarnation, stream_seq, orders, holds, now_ms. Empty when the shard does not have the partition.
local function read_status(keys)
  local reply = redis.call('HGETALL', keys[1])
  if #reply == 0 then return reply end
  local function add(name, value)
    reply[#reply + 1] = name
    reply[#reply + 1] = value
  end
  local fence = armed[keys[1]]
  if fence and not fence.busy then
    add('armed_incarnation', fence.incarnation)
    add('armed_seq', fence.seq)
  end
  local stream_incarnation, stream_seq = last_event(keys[3])
  add('stream_incarnation', stream_incarnation)
  add('stream_seq', stream_seq)
  add('orders', redis.call('HLEN', keys[2]))
  add('holds', redis.call('ZCARD', keys[4]))
  add('now_ms', server_ms())
  return reply
end

redis.register_function{function_name = 'hs_status', callback = read_status, flags = {'no-writes'}}
