-- hs_reclaim: takes up to a quantity of unsold units out of the buckets, exactly once, as a `returned` event. They are
-- in the pool when the ledger has applied it.
-- KEYS  1 meta (hash)   2 stream (stream)
-- ARGV  1 incarnation (integer)   2 reclaim no (integer)   3 quantity at most (integer)
-- Reply {'OK', units} | {'ALREADY', units that this no took} | {'GAP', reclaim no} | {'STALE', incarnation} | {'FENCED'}
local function reclaim_units(keys, args)
  local no, wanted = integer(args[2]), integer(args[3])
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  if no == p.reclaim_no then return {'ALREADY', p.reclaimed} end
  if no < p.reclaim_no then return {'ALREADY', 0} end
  if no > p.reclaim_no + 1 then return {'GAP', p.reclaim_no} end
  local now = read_clock(p)
  if not now then return {'FENCED'} end
  local units = math.min(wanted, p.left_a + p.left_b)
  if units < 1 then return {'OK', 0} end

  local active, standby = 'left_' .. p.active, standby_of(p)
  local first = math.min(p[standby], units)
  p[standby] = p[standby] - first
  p[active] = p[active] - (units - first)
  local seq_before = p.seq
  p.seq = seq_before + 1
  switch_buckets(p)
  fence.busy = true
  if not append_events(keys[2], p, seq_before, 'returned', now, cmsgpack.pack({units})) then
    return fence_broken(keys[1])
  end
  redis.call('HSET', keys[1], 'left_a', p.left_a, 'left_b', p.left_b, 'active', p.active, 'seq', p.seq,
    'returned', p.returned + units, 'reclaim_no', no, 'reclaimed', units, 'clock', now)
  fence.seq = p.seq
  fence.busy = false
  return {'OK', units}
end

redis.register_function{function_name = 'hs_reclaim', callback = reclaim_units, flags = {'allow-oom'}}
