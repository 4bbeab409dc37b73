-- hs_deduct: decides a batch of orders, in their order, and appends what it took to the stream.
-- KEYS  1 meta (hash)   2 orders (hash: order field -> record)   3 buyers (hash: buyer -> units)   4 stream (stream)
-- ARGV  1 incarnation (integer)   2 deadline (integer, ms of the shard's clock)
--       3 take (0 or 1): 0 answers from the records only, new orders that nothing else refuses are dry
--       4 orders (msgpack flat array: order field, quantity, order field, quantity, ...; at most 1,000 orders)
--       5 copied (0 or 1): 1 has replays written down, so that a caller who waits for copies waits for those of the sale
-- Reply {'OK', seq before, left_a, left_b, active, refill (0 or 1), taken, now (ms), codes, record, record, ...}
--       | {'LATE', now} past the deadline, nothing done | {'STALE', incarnation} | {'FENCED'}
-- A code an order, in their order; R and X have a record each, in their order:
--       A accepted, with the next seq    R accepted before, by this record    X another quantity than this record's
--       L over the buyer's limit         N not open yet      C closed         D dry: the buckets cannot serve it
--       F the ledger is too far behind   I not a quantity
-- Record: d:<quantity>:<incarnation>:<seq>:<at, ms>

-- So many events may wait for the ledger before a partition refuses new sales.
local MAX_BACKLOG = 1000000
local MAX_QUANTITY = 1e9
-- `unpack` fails at about 8,000 values, and that would be after the first write.
local MAX_BATCH = 1000

-- The order fields of a batch and, by the same index, what came as their quantities. What is not a batch is refused as a
-- whole, before anything is written: a shifted or swallowed element would sell another quantity than was asked.
local function read_orders(packed)
  local orders = cmsgpack.unpack(packed)
  local fields, quantities = {}, {}
  -- Not #orders: an array with a nil in it has no definite length.
  for i = 1, table.maxn(orders), 2 do
    if type(orders[i]) ~= 'string' or orders[i] == '' then
      error(redis.error_reply('HOTSKU an order field is not a string'))
    end
    fields[#fields + 1] = orders[i]
    quantities[#fields] = orders[i + 1]
  end
  if #fields < 1 or #fields > MAX_BATCH then
    error(redis.error_reply('HOTSKU a batch must have 1 to ' .. MAX_BATCH .. ' orders'))
  end
  return fields, quantities
end

-- The buyer of an order field: its first character is "0" + the buyer's length.
local function buyer_of(field)
  return string.sub(field, 2, string.byte(field) - 47)
end

-- buyer -> units so far, for the buyers of the batch.
local function read_buyers(key, fields)
  local names, units = {}, {}
  for i = 1, #fields do
    local buyer = buyer_of(fields[i])
    if not units[buyer] then
      names[#names + 1] = buyer
      units[buyer] = 0
    end
  end
  local values = redis.call('HMGET', key, unpack(names))
  for i = 1, #names do units[names[i]] = tonumber(values[i]) or 0 end
  return units
end

local function deduct_batch(keys, args)
  local deadline = integer(args[2])
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  local now = read_clock(p)
  if not now then return {'FENCED'} end
  if now > deadline then return {'LATE', now} end

  local fields, quantities = read_orders(args[4])
  local records = redis.call('HMGET', keys[2], unpack(fields))
  local bought = p.limit > 0 and read_buyers(keys[3], fields)
  local early, closed = now < p.opens_at, p.closes_at > 0 and now >= p.closes_at
  local dry = args[3] ~= '1'

  local left, seq, last_seq = p.left_a + p.left_b, p.seq, p.trimmed + MAX_BACKLOG
  local codes, answers, written, events, changed = {}, {}, {}, {}, {}
  local fresh = {} -- orders that this batch accepted: a second one in the same batch is a replay
  local accepted = 0
  -- What does not change from order to order is put into words once: the loop spent most of its time on that.
  local before_seq, after_seq = {}, ':' .. now
  for i = 1, #fields do
    local field, quantity = fields[i], quantities[i]
    local record = records[i] or fresh[field]
    if not (type(quantity) == 'number' and quantity >= 1 and quantity <= MAX_QUANTITY and quantity % 1 == 0) then
      codes[i] = 'I'
    elseif record then
      codes[i] = tonumber(string.match(record, '^d:(%d+):')) == quantity and 'R' or 'X'
      answers[#answers + 1] = record
    elseif closed then
      codes[i] = 'C'
    elseif early then
      codes[i] = 'N'
    elseif bought and bought[buyer_of(field)] + quantity > p.limit then
      codes[i] = 'L'
    elseif seq >= last_seq then
      codes[i] = 'F'
    elseif dry or left < quantity then
      -- Whoever comes later waits behind: else a stream of small orders would starve a larger one for ever.
      dry = true
      codes[i] = 'D'
    else
      left = left - quantity
      seq = seq + 1
      local words = before_seq[quantity]
      if not words then
        words = 'd:' .. quantity .. ':' .. p.incarnation .. ':'
        before_seq[quantity] = words
      end
      record = words .. seq .. after_seq
      fresh[field] = record
      accepted = accepted + 2
      written[accepted - 1], written[accepted] = field, record
      events[accepted - 1], events[accepted] = field, quantity
      if bought then
        local buyer = buyer_of(field)
        bought[buyer] = bought[buyer] + quantity
        changed[buyer] = bought[buyer]
      end
      codes[i] = 'A'
    end
  end

  local seq_before = p.seq
  if accepted > 0 then
    take_units(p, p.left_a + p.left_b - left)
    p.seq = seq
    fence.busy = true
    redis.call('HSET', keys[2], unpack(written))
    if bought then
      local units = {}
      for buyer, count in pairs(changed) do
        units[#units + 1] = buyer
        units[#units + 1] = count
      end
      redis.call('HSET', keys[3], unpack(units))
    end
    redis.call('HSET', keys[1], 'left_a', p.left_a, 'left_b', p.left_b, 'active', p.active, 'seq', p.seq,
      'taken', p.taken, 'clock', now)
    append_events(keys[4], p, 'deducted', now, cmsgpack.pack(events))
    fence.seq = p.seq
    fence.busy = false
  elseif #answers > 0 and args[5] == '1' then
    -- WAIT covers the writes of its own connection alone, and the sale may have been another's.
    redis.call('HINCRBY', keys[1], 'replays', 1)
  end
  return {'OK', seq_before, p.left_a, p.left_b, p.active, wants_refill(p) and 1 or 0, p.taken, now,
    table.concat(codes), unpack(answers)}
end

redis.register_function('hs_deduct', deduct_batch)
