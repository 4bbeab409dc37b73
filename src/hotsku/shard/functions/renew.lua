-- hs_renew: begins a new incarnation in the place of an older one, whose memory was lost, or may be out of date, or lies
-- on a server that took over from another. The ledger has closed the older one, and begun the new one, before.
-- Where the older memory is proven to be complete its orders and buyers are kept, and the partition is armed at once.
-- Otherwise everything is dropped; `hs_load` brings the orders back from the ledger, and `hs_finish` arms it.
-- KEYS  1 meta (hash)   2 orders (hash)   3 buyers (hash)   4 stream (stream)   5 holds (zset)   6 ended (zset)
-- ARGV  1 incarnation (integer): the token of this and of all that follows; a lower one than the shard's is refused
--       2 to 7 the item's configuration (integers, see `read_configuration`); the shard's own stays where it is newer
--       8 the memory's name, read before the ledger was asked (string)
--       9 keep (integer): the seq at which the older incarnation was proven to be complete, -1 it was not
-- Reply {'OK', 'armed'} | {'OK', 'rebuilding'} | {'STALE', incarnation}
--       | {'REFUSED', why} what the caller saw is not so any more: look again
local function renew_partition(keys, args)
  local incarnation, keep = integer(args[1]), integer(args[9])
  local p, fence = read_partition(keys[1]), armed[keys[1]]
  local configuration = newest_configuration(p, read_configuration(args, 2))
  if p and p.incarnation > incarnation then return {'STALE', p.incarnation} end
  if args[8] ~= name_memory() then return {'REFUSED', 'the shard has restarted since'} end

  if p and p.incarnation == incarnation then
    if p.ended == 1 then return {'REFUSED', 'the incarnation is over'} end
    if p.seq > 0 or p.lease_no > 0 then return {'REFUSED', 'the incarnation has had stock'} end
    local is_armed = fence and not fence.busy and fence.incarnation == incarnation and fence.seq == 0
    if is_armed and has_all(keys, incarnation) then return {'OK', 'armed'} end
    -- Begun before, and not finished; or finished, and this memory may not have all of it.
    armed[keys[1]] = nil
    write_configuration(keys[1], configuration)
    remove_marks(keys)
    redis.call('HSET', keys[1], 'rebuilding', 1)
    return {'OK', 'rebuilding'}
  end

  if keep >= 0 and not (p and p.seq == keep) then return {'REFUSED', 'the shard is not at the proven seq'} end
  if keep >= 0 and not has_all(keys, p.incarnation) then return {'REFUSED', 'its orders are not all there'} end
  armed[keys[1]] = nil
  redis.call('UNLINK', keys[4])
  if keep < 0 then redis.call('UNLINK', keys[2], keys[3], keys[5], keys[6]) end
  write_empty(keys[1], incarnation, configuration, p and p.clock or 0, keep < 0 and 1 or 0)
  if keep < 0 then return {'OK', 'rebuilding'} end
  write_marks(keys, incarnation)
  armed[keys[1]] = {incarnation = incarnation, seq = 0, busy = false}
  return {'OK', 'armed'}
end

-- It must work out of memory too: what it drops is more than what it writes.
redis.register_function{function_name = 'hs_renew', callback = renew_partition, flags = {'allow-oom'}}
