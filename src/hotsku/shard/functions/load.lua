-- hs_load: brings orders, and what their buyers have, back to a partition that is being rebuilt. The same again does
-- nothing more.
-- KEYS  1 meta (hash)   2 orders (hash: order field -> record)   3 buyers (hash: buyer -> units)
--       4 holds (zset: order field -> expires at, ms)   5 ended (zset: order field -> ended at, ms)
-- ARGV  1 incarnation (integer)   2 the memory's name when the rebuilding began (string)
--       3 orders (msgpack flat array: order field, record, ...; at most 1,000 orders)
--       4 buyers (msgpack flat array: buyer, units in all, ...; at most 1,000 buyers)
--       5 holds, 6 ended (msgpack flat arrays: order field, ms, ...; at most 1,000 each)
-- Reply {'OK'} | {'REFUSED', why}

-- (order field, ms) pairs, as ZADD takes them: the other way round.
local function read_scores(packed)
  local flat = cmsgpack.unpack(packed)
  for i = 1, #flat, 2 do flat[i], flat[i + 1] = flat[i + 1], flat[i] end
  return flat
end

local function load_orders(keys, args)
  local p = read_partition(keys[1])
  if not p or p.incarnation ~= integer(args[1]) or not is_rebuilding(keys[1]) then
    return {'REFUSED', 'the partition is not being rebuilt under this incarnation'}
  end
  if args[2] ~= name_memory() then return {'REFUSED', 'the shard has restarted since'} end
  local orders, buyers = cmsgpack.unpack(args[3]), cmsgpack.unpack(args[4])
  local holds, ended = read_scores(args[5]), read_scores(args[6])
  if #orders > 0 then redis.call('HSET', keys[2], unpack(orders)) end
  if #buyers > 0 then redis.call('HSET', keys[3], unpack(buyers)) end
  if #holds > 0 then redis.call('ZADD', keys[4], unpack(holds)) end
  if #ended > 0 then redis.call('ZADD', keys[5], unpack(ended)) end
  return {'OK'}
end

redis.register_function('hs_load', load_orders)
