-- hs_finish: ends the rebuilding of a partition, whose orders are all there now, and arms it.
-- KEYS  as in step.lua
-- ARGV  1 incarnation (integer)   2 the memory's name when the rebuilding began (string)
--       3 orders, 4 buyers, 5 holds (integers): how many were loaded; another recoverer may have loaded more
-- Reply {'OK'} | {'REFUSED', why}
local function finish_rebuilding(keys, args)
  local incarnation = integer(args[1])
  local p = read_partition(keys[1])
  if not p or p.incarnation ~= incarnation then return {'REFUSED', 'another incarnation is there'} end
  if p.ended == 1 then return {'REFUSED', 'the incarnation is over'} end
  if args[2] ~= name_memory() then return {'REFUSED', 'the shard has restarted since'} end
  if not is_rebuilding(keys[1]) then return armed[keys[1]] and {'OK'} or {'REFUSED', 'it is not being rebuilt'} end
  local orders, buyers, holds = integer(args[3]), integer(args[4]), integer(args[5])
  if redis.call('HLEN', keys[2]) < orders or redis.call('HLEN', keys[3]) < buyers
    or redis.call('ZCARD', keys[5]) < holds then
    return {'REFUSED', 'what was loaded is not all there'}
  end
  write_marks(keys, incarnation)
  redis.call('HSET', keys[1], 'rebuilding', 0)
  armed[keys[1]] = {incarnation = incarnation, seq = 0, busy = false}
  return {'OK'}
end

-- As for `hs_renew`.
redis.register_function{function_name = 'hs_finish', callback = finish_rebuilding, flags = {'allow-oom'}}
