-- Gives an order's units back, once.
-- KEYS  1 stock   2 orders   3 details   4 seq (as in deduct.lua)
-- ARGV  1 order field
-- Reply 1 released now | 0 there is no such order, or it was released before
local record = redis.call('HGET', KEYS[2], ARGV[1])
if not record or string.sub(record, 1, 1) ~= 's' then return 0 end
local quantity = string.sub(record, 3)
redis.call('HSET', KEYS[2], ARGV[1], 'r:' .. quantity)
redis.call('INCRBY', KEYS[1], quantity)
redis.call('XADD', KEYS[3], redis.call('INCR', KEYS[4]) .. '-0', 'released', ARGV[1], 'q', quantity)
return 1
