-- hs_load: brings orders, and what their buyers have, back to a partition that is being rebuilt. The same again does
-- nothing more.
-- KEYS  1 meta (hash)   2 orders (hash: order field -> record)   3 buyers (hash: buyer -> units)
-- ARGV  1 incarnation (integer)   2 the memory's name when the rebuilding began (string)
--       3 orders (msgpack flat array: order field, record, ...; at most 1,000 orders)
--       4 buyers (msgpack flat array: buyer, units in all, ...; at most 1,000 buyers)
-- Reply {'OK'} | {'REFUSED', why}
local function load_orders(keys, args)
  local p = read_partition(keys[1])
  if not p or p.incarnation ~= integer(args[1]) or not is_rebuilding(keys[1]) then
    return {'REFUSED', 'the partition is not being rebuilt under this incarnation'}
  end
  if args[2] ~= name_memory() then return {'REFUSED', 'the shard has restarted since'} end
  for i = 2, 3 do
    local fields = cmsgpack.unpack(args[i + 1])
    if #fields > 0 then redis.call('HSET', keys[i], unpack(fields)) end
  end
  return {'OK'}
end

redis.register_function('hs_load', load_orders)
