-- hs_arm: sets the volatile fence of a partition whose memory was proven to be all of it (the caller proves that).
-- KEYS  as in step.lua
-- ARGV  1 incarnation (integer)   2 seq that the caller has seen (integer)   3 the memory's name, read before (string)
-- Reply {'OK'} armed now | {'ALREADY'} it is armed | {'REFUSED', why}
local function arm_partition(keys, args)
  local incarnation, seq = integer(args[1]), integer(args[2])
  local p, fence = read_partition(keys[1]), armed[keys[1]]
  if not p then return {'REFUSED', 'the shard does not have the partition'} end
  if p.incarnation ~= incarnation or p.seq ~= seq then return {'REFUSED', 'incarnation or seq differs'} end
  if p.ended == 1 then return {'REFUSED', 'the incarnation is over'} end
  if fence then
    if not fence.busy and fence.incarnation == incarnation and fence.seq == seq then return {'ALREADY'} end
    return {'REFUSED', 'the memory changed under an armed fence'}
  end
  if args[3] ~= name_memory() then return {'REFUSED', 'the shard has restarted since'} end
  if is_rebuilding(keys[1]) then return {'REFUSED', 'its orders are being rebuilt'} end
  local stream_incarnation, stream_seq = last_event(keys[4])
  if not has_stream(p, stream_incarnation, stream_seq) then return {'REFUSED', 'the stream does not end at seq'} end
  if p.left_a < 0 or p.left_b < 0 or p.left_a + p.left_b + p.taken + p.returned ~= p.installed then
    return {'REFUSED', 'the buckets do not add up'}
  end
  if not has_all(keys, incarnation) then return {'REFUSED', 'orders, buyers or holds are not all there'} end
  redis.call('HSET', keys[1], 'sealed', -1)
  armed[keys[1]] = {incarnation = incarnation, seq = seq, busy = false}
  return {'OK'}
end

-- It must work out of memory too: what gives memory back is fenced until then.
redis.register_function{function_name = 'hs_arm', callback = arm_partition, flags = {'allow-oom'}}
