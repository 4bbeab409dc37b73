-- Sells to an order, once: one item, one slot.
-- KEYS  1 stock (string: units left)   2 orders (hash: order field -> record)   3 details (stream)   4 seq (string)
-- ARGV  1 order field   2 quantity (integer)
-- Reply {'accepted', left} | {'replayed', record} | {'refused', left} | {'missing'} Redis does not have the item
-- Record: s:<quantity> sold, r:<quantity> released
local record = redis.call('HGET', KEYS[2], ARGV[1])
if record then return {'replayed', record} end
local stock = redis.call('GET', KEYS[1])
if not stock then return {'missing'} end
local left, quantity = tonumber(stock), tonumber(ARGV[2])
if left < quantity then return {'refused', left} end
left = redis.call('DECRBY', KEYS[1], quantity)
redis.call('HSET', KEYS[2], ARGV[1], 's:' .. ARGV[2])
redis.call('XADD', KEYS[3], redis.call('INCR', KEYS[4]) .. '-0', 'sold', ARGV[1], 'q', ARGV[2])
return {'accepted', left}
