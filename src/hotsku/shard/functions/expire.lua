-- hs_expire: expires holds whose time is over, the oldest first.
-- KEYS  as in step.lua
-- ARGV  1 incarnation (integer)   2 how many at most (integer, 1 to 1,000)
-- Reply {'OK', holds expired, when the next one is due (ms, 0 none), 0, order field, ...} the fields are those of carts'
--         lines whose time is over: they stay as they are, for the caller to look their carts' decisions up
--       | {'STALE', incarnation} | {'FENCED'}
local function expire_holds(keys, args)
  local most = page_size(integer(args[2]))
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  local now = read_clock(p)
  if not now then return {'FENCED'} end
  local due = redis.call('ZRANGEBYSCORE', keys[5], '-inf', now, 'LIMIT', 0, most)

  local changes, ended, lines = begin_changes(p, now), 0, {}
  visit_orders(keys, due, function(field, r)
    if expire_due(changes, field, r) then ended = ended + 1 end
    if r.cart then lines[#lines + 1] = field end
  end)
  if not write_changes(keys, fence, changes) then return {'FENCED'} end
  local next_one = redis.call('ZRANGE', keys[5], 0, 0, 'WITHSCORES')
  return {'OK', ended, next_one[1] ~= MARK and tonumber(next_one[2]) or 0, 0, unpack(lines)}
end

-- It must work out of memory too: what has ended can be forgotten.
redis.register_function{function_name = 'hs_expire', callback = expire_holds, flags = {'allow-oom'}}
