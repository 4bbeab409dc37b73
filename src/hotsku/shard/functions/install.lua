-- hs_install: adds a lease to the standby bucket, exactly once. It is never added to the bucket that sells.
-- KEYS  1 meta (hash)
-- ARGV  1 incarnation (integer)   2 lease no (integer)   3 quantity (integer)   4 switch threshold from now on (integer)
-- Reply {'OK', lease no} installed now | {'ALREADY', lease no} | {'GAP', lease no} an earlier lease is missing
--       | {'STALE', incarnation} | {'FENCED'}
local function install_lease(keys, args)
  local no, quantity, threshold = integer(args[2]), integer(args[3]), integer(args[4])
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  if no <= p.lease_no then return {'ALREADY', p.lease_no} end
  if no > p.lease_no + 1 then return {'GAP', p.lease_no} end
  if quantity < 1 or quantity > 1e9 then
    return redis.error_reply('HOTSKU quantity must be an integer from 1 to 10^9')
  end

  local standby = standby_of(p)
  p[standby] = p[standby] + quantity
  p.threshold = math.max(1, threshold)
  switch_buckets(p)
  fence.busy = true
  redis.call('HSET', keys[1], 'left_a', p.left_a, 'left_b', p.left_b, 'active', p.active, 'threshold', p.threshold,
    'installed', p.installed + quantity, 'lease_no', no)
  fence.busy = false
  return {'OK', no}
end

redis.register_function('hs_install', install_lease)
