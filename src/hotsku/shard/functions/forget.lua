-- hs_forget: drops the records of holds that ended long ago, and the oldest where there are too many, as far as the
-- ledger has their end. Whoever sends such an order again makes a new attempt.
-- KEYS  1 meta (hash)   2 orders (hash)   3 ended (zset: order field -> ended at, ms)
-- ARGV  1 incarnation (integer)   2 drop what ended before (integer, ms)   3 keep at most so many (integer)
--       4 how many to look at (integer, 1 to 1,000)
-- Reply {'OK', records dropped} | {'STALE', incarnation} | {'FENCED'}

-- The latest step of a record: its incarnation and its seq.
local STEP = '^[dh]:%d+:%d+:%d+:%d+:%a:%d+:%d+:%d+:(%d+):(%d+):'

-- Whether the ledger has the latest step of a record: it is of an earlier incarnation, or was trimmed.
local function is_booked(p, text)
  local incarnation, seq = string.match(text, STEP)
  return tonumber(incarnation) < p.incarnation or tonumber(seq) <= p.trimmed
end

local function forget_orders(keys, args)
  local before, keep, most = integer(args[2]), integer(args[3]), page_size(integer(args[4]))
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  local oldest = redis.call('ZRANGE', keys[3], 0, most - 1, 'WITHSCORES')
  if #oldest == 0 then return {'OK', 0} end
  local too_many = redis.call('ZCARD', keys[3]) - keep

  local fields = {}
  for i = 1, #oldest, 2 do fields[#fields + 1] = oldest[i] end
  local texts = redis.call('HMGET', keys[2], unpack(fields))
  local dropped = {}
  for i = 1, #fields do
    local old = tonumber(oldest[2 * i]) < before or i <= too_many
    if old and (not texts[i] or is_booked(p, texts[i])) then dropped[#dropped + 1] = fields[i] end
  end
  if #dropped == 0 then return {'OK', 0} end
  fence.busy = true
  redis.call('HDEL', keys[2], unpack(dropped))
  redis.call('ZREM', keys[3], unpack(dropped))
  fence.busy = false
  return {'OK', #dropped}
end

redis.register_function{function_name = 'hs_forget', callback = forget_orders, flags = {'allow-oom'}}
