-- hs_begin: gives the shard a partition that has never been leased to, with nothing in its buckets, and arms it.
-- KEYS  as in step.lua
-- ARGV  1 incarnation (integer)   2 to 7 the item's configuration (integers, see `read_configuration`)
--       8 the memory's name, read before the ledger said that the partition was never leased to (string)
-- Reply {'OK'} begun now | {'ALREADY'} it is there and armed | {'STALE', incarnation} | {'FENCED'}
local function begin_partition(keys, args)
  local incarnation = integer(args[1])
  local configuration = read_configuration(args, 2)
  local p, fence = read_partition(keys[1]), armed[keys[1]]
  if p and p.incarnation > incarnation then return {'STALE', p.incarnation} end
  if p and p.incarnation < incarnation then return {'FENCED'} end
  if p and p.ended == 1 then return {'FENCED'} end
  if p and fence then
    if fence.busy or fence.incarnation ~= p.incarnation or fence.seq ~= p.seq then return {'FENCED'} end
    return {'ALREADY'}
  end
  -- A fence without its partition: the memory vanished under it. A partition without its fence that has had stock:
  -- a restart, which only `hs_arm` may prove.
  if fence or (p and (p.lease_no > 0 or p.seq > 0)) then return {'FENCED'} end

  -- The shard restarted since the ledger was looked at: the partition may have been leased to, and lost, meanwhile.
  if args[8] ~= name_memory() then return {'FENCED'} end

  write_empty(keys[1], incarnation, configuration, 0, 0)
  write_marks(keys, incarnation)
  armed[keys[1]] = {incarnation = incarnation, seq = 0, busy = false}
  return {'OK'}
end

redis.register_function('hs_begin', begin_partition)
