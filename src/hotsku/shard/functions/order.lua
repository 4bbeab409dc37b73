-- hs_order: an order's record, and the time by which its state is to be judged.
-- KEYS  1 meta (hash)   2 orders (hash)
-- ARGV  1 order field (string)
-- Reply {'OK', record (nil where the order has none), now (ms)} | {'FENCED'} it is not known to have every record
local function read_order(keys, args)
  local incarnation = tonumber(redis.call('HGET', keys[1], 'incarnation'))
  local p, fence = pass_fence(keys[1], incarnation)
  if not p then return fence end
  local mark, record = unpack(redis.call('HMGET', keys[2], MARK, args[1]))
  if not is_marked(mark, incarnation) then return {'FENCED'} end
  return {'OK', record, math.max(server_ms(), p.clock)}
end

redis.register_function{function_name = 'hs_order', callback = read_order, flags = {'no-writes'}}
