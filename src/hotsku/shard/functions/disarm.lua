-- hs_disarm: clears the volatile fence, so that nothing more is decided here. With a seal it writes down the seq that
-- was the last: a restart that finds `sealed` = seq has lost nothing, whatever its fsync policy.
-- KEYS  1 meta (hash)
-- ARGV  1 incarnation (integer)   2 seal (0 or 1)
-- Reply {'OK'} | {'STALE', incarnation} | {'FENCED'} it was not armed
local function disarm_partition(keys, args)
  local p, refusal = pass_fence(keys[1], integer(args[1]))
  if not p then return refusal end
  armed[keys[1]] = nil
  if args[2] == '1' then redis.call('HSET', keys[1], 'sealed', p.seq) end
  return {'OK'}
end

redis.register_function{function_name = 'hs_disarm', callback = disarm_partition, flags = {'allow-oom'}}
