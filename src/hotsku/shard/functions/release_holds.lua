-- hs_release_holds: ends the holds of an item that was closed, but for those in payment: it releases them, or expires
-- those whose time is over, also those in payment. Carts' lines stay: their carts decide.
-- KEYS  as in step.lua
-- ARGV  1 incarnation (integer)   2 how many to look at (integer, 1 to 1,000)   3 where to go on (integer, 0 at first)
-- Reply {'OK', holds ended, 0, where to go on (0: it came to the end, or the partition is not closed)}
--       | {'STALE', incarnation} | {'FENCED'}
local function release_holds(keys, args)
  local most, offset = page_size(integer(args[2])), integer(args[3])
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  local now = read_clock(p)
  if not now then return {'FENCED'} end
  if p.state ~= CLOSED then return {'OK', 0, 0, 0} end
  local fields = redis.call('ZRANGE', keys[5], offset, offset + most - 1)
  if fields[#fields] == MARK then fields[#fields] = nil end

  local changes, ended = begin_changes(p, now), 0
  visit_orders(keys, fields, function(field, r)
    if not expire_due(changes, field, r) then
      if r.paying or r.cart then return end
      end_hold(changes, field, r, 'released')
    end
    ended = ended + 1
  end)
  if not write_changes(keys, fence, changes) then return {'FENCED'} end
  -- What has ended has left the set, so that the rest moved up.
  return {'OK', ended, 0, #fields < most and 0 or offset + #fields - ended}
end

redis.register_function{function_name = 'hs_release_holds', callback = release_holds, flags = {'allow-oom'}}
