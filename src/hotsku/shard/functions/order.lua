-- hs_order: an order's record, and the time by which its state is to be judged.
-- KEYS  1 meta (hash)   2 orders (hash)
-- ARGV  1 order field (string)
-- Reply {record (nil where the order has none), now (ms)}
local function read_order(keys, args)
  local clock = tonumber(redis.call('HGET', keys[1], 'clock')) or 0
  return {redis.call('HGET', keys[2], args[1]), math.max(server_ms(), clock)}
end

redis.register_function{function_name = 'hs_order', callback = read_order, flags = {'no-writes'}}
