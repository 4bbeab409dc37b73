-- hs_deduct: decides batches of orders, one of each of some partitions. Each is decided by itself: its orders in their
-- order, its answer as if it had come alone, and what it took appended to its own stream.
-- KEYS  six a partition: 1 meta (hash)   2 orders (hash: order field -> record)   3 buyers (hash: buyer -> units)
--       4 stream (stream)   5 holds (zset: order field -> expires at, ms)   6 ended (zset)
-- ARGV  1 deadline (integer, ms of the shard's clock)
--       2 copied (0 or 1): 1 has replays written down, so that a caller who waits for copies waits for those of the sale
--       and three a partition: 1 incarnation (integer)
--       2 take (0 or 1): 0 answers from the records only, new orders that nothing else refuses are dry
--       3 orders (msgpack flat array: order field, what, order field, what, ...; at most 1,000 orders); what is a
--         quantity, or an array {quantity, metadata (string, at most 256 bytes), ttl (ms, 0 is no hold), 1 for a cart's
--         line else 0}
-- Reply an array with one reply a partition, in their order:
--       {'OK', seq before, left_a, left_b, active, refill (0 or 1), taken, now (ms), codes, record, record, ...}
--       | {'LATE', now} past the deadline, nothing done | {'STALE', incarnation} | {'FENCED'}
--       | {'FAILED', why} its keys are not what they should be; where it is half done, it is fenced
-- A code an order, in their order; R and X have a record each, in their order:
--       A accepted, with the next seq    R accepted before, by this record    X another quantity than this record's, or
--         deducted where this record is held, or held where it is deducted, or a cart's line where it is none
--       L over the buyer's limit         N not open yet      C closed         P paused
--       D dry: the buckets cannot serve it     F the ledger is too far behind     I not a quantity, or bad words
-- Record: see records.lua

-- So many events may wait for the ledger before a partition refuses new sales.
local MAX_BACKLOG = 1000000
local MAX_METADATA = 256 -- bytes

-- What this function needs of a partition: reading all would cost more than a third of what a batch of one order costs.
local SELLING = {
  'incarnation', 'seq', 'active', 'left_a', 'left_b', 'threshold', 'taken', 'trimmed', 'limit', 'opens_at', 'closes_at',
  'clock', 'ended', 'state',
}

-- Reads these fields. A table that is written down whole is made once, and has room; filled field by field it would grow
-- five times, and `+ 0` costs less than a call of `tonumber`: both count where a batch has few orders.
local function read_selling(meta_key)
  local v = redis.call('HMGET', meta_key, unpack(SELLING))
  if not v[1] then return nil end
  return {
    incarnation = v[1] + 0, seq = v[2] + 0, active = v[3], left_a = v[4] + 0, left_b = v[5] + 0, threshold = v[6] + 0,
    taken = v[7] + 0, trimmed = v[8] + 0, limit = v[9] + 0, opens_at = v[10] + 0, closes_at = v[11] + 0,
    clock = v[12] + 0, ended = v[13] + 0, state = (v[14] or OPEN) + 0,
  }
end

-- The orders of a batch, as they came (what came with the i-th is orders[2 * i]), and their fields alone. What is not a
-- batch is refused as a whole, before anything is written: a shifted or swallowed element would sell another quantity
-- than was asked.
local function read_orders(packed)
  -- Of a map, what has no place in the batch would go into the event.
  local first = string.byte(packed) or 0
  if first < 144 or (first > 159 and first ~= 220 and first ~= 221) then
    error(redis.error_reply('HOTSKU a batch is not an array'))
  end
  local orders = cmsgpack.unpack(packed)
  local fields, count = {}, 0
  -- Not #orders: an array with a nil in it has no definite length.
  for i = 1, table.maxn(orders), 2 do
    local field = orders[i]
    -- With nothing behind it, a string is itself, a number is another thing, and all else is an error: `type` makes a
    -- string of its answer, and took a thirtieth of what an order costs.
    if field .. '' ~= field or field == '' then
      error(redis.error_reply('HOTSKU an order field is not a string'))
    end
    count = count + 1
    fields[count] = field
  end
  if count < 1 or count > MAX_BATCH then
    error(redis.error_reply('HOTSKU a batch must have 1 to ' .. MAX_BATCH .. ' orders'))
  end
  return orders, fields
end

local function is_quantity(value)
  return is_whole(value, MAX_QUANTITY) and value > 0
end

-- What came with an order: the quantity, 0 where it makes no sense, and the words, nil where it has none, or they say no
-- more than a quantity does.
local function read_words(what, now)
  if type(what) ~= 'table' then return is_quantity(what) and what or 0 end
  local quantity, metadata, ttl, cart = what[1], what[2], what[3], what[4]
  local makes_sense = is_quantity(quantity) and type(metadata) == 'string' and #metadata <= MAX_METADATA
    and is_whole(ttl, MAX_TTL_MS) and is_whole(cart, 1) and (cart == 0 or ttl > 0)
  if not makes_sense then return 0 end
  if ttl == 0 and metadata == '' then return quantity end
  local held = ttl > 0
  return quantity, {
    born = held and 'h' or 'd', state = held and 'h' or 'c', cart = cart == 1, paying = false,
    expires_at = held and now + ttl or 0, refunded = 0, payment_ref = '', metadata = metadata,
  }
end

-- Whether a record is of the same order: the same quantity, born in the same way. `words` as `read_words` gives them.
local function is_same(record, quantity, words)
  local r = parse_record(record)
  return r.quantity == quantity and r.born == words.born and r.cart == words.cart
end

-- The events of a batch that accepted plain deductions alone: the orders that have no code. Where that is every one, they
-- are the orders as they came.
local function plain_events(orders, fields, codes, accepted)
  if accepted == #fields then return orders end
  local events, last = {}, 0
  for i = 1, #fields do
    if not codes[i] then
      events[last + 1], events[last + 2] = fields[i], orders[2 * i]
      last = last + 2
    end
  end
  return events
end

-- The events of a batch that accepted more than plain deductions; `worded` has the words by the place of the order.
local function mixed_events(orders, fields, codes, worded)
  local mixed = {}
  for i = 1, #fields do
    if not codes[i] then
      local words = worded[i]
      local kind = words and words.born == 'h' and 'held' or 'deducted'
      mixed[#mixed + 1] = {kind, fields[i], orders[2 * i], words and words.expires_at or 0, '',
        words and words.metadata or '', words and words.cart and 1 or 0}
    end
  end
  return mixed
end

-- The codes as one string; those that are not there are accepted.
local function spell(codes, count, accepted)
  if accepted == count then return string.rep('A', count) end
  for i = 1, count do codes[i] = codes[i] or 'A' end
  return table.concat(codes)
end

-- The code of every new order where the item does not sell now, else nil.
local function refuse_all(p, now)
  if p.state == CLOSED or (p.closes_at > 0 and now >= p.closes_at) then return 'C' end
  if p.state == PAUSED then return 'P' end
  if now < p.opens_at then return 'N' end
  return nil
end

-- The last two digits of a number from 100 on. Lua puts a number into words as a floating point one, which took a tenth
-- of the loop's time.
local TWO_DIGITS = {}
for i = 0, 99 do TWO_DIGITS[i] = (i < 10 and '0' or '') .. i end

-- Decides one batch of a call; `time` is the server's clock.
local function deduct_batch(batch, time, deadline, copied)
  local keys, orders, fields = batch.keys, batch.orders, batch.fields
  local p, fence = pass_fence(keys[1], batch.incarnation, read_selling)
  if not p then return fence end
  local now = clamp_clock(p, time)
  if not now then return {'FENCED'} end
  if now > deadline then return {'LATE', now} end

  local records = redis.call('HMGET', keys[2], MARK, unpack(fields)) -- that of fields[i] is records[i + 1]
  if not is_marked(records[1], p.incarnation) then return fence_broken(keys[1]) end
  local bought = p.limit > 0 and read_buyers(keys[3], fields)
  if bought and not is_marked(bought[MARK], p.incarnation) then return fence_broken(keys[1]) end
  local refusal = refuse_all(p, now)
  local dry = not batch.take

  local left, seq, last_seq = p.left_a + p.left_b, p.seq, p.trimmed + MAX_BACKLOG
  -- Where a table has room for one order from the start, it does not grow for it: with many partitions most batches have
  -- few orders, and what they cost is mostly what the first one does.
  local codes, answers, written, changed = {}, {}, {false, false}, {} -- an order without a code is accepted
  local worded, holds = nil, {} -- what came with words: by the place of its order; as ZADD takes it
  local fresh = {} -- orders that this batch accepted: a second one in the same batch is a replay
  local count, accepted = #fields, 0
  local bare = {true} -- quantities that came before (1 makes sense), and whether they make sense
  -- What does not change from order to order is put into words once: the loop spent most of its time on that.
  local starts, heads, head_hundreds, after_seq = {}, {false}, nil, string.format(':%d', now)
  for i = 1, count do
    local field, quantity, words = fields[i], orders[2 * i], nil
    local record = records[i + 1] or fresh[field]
    if bare[quantity] == nil then
      quantity, words = read_words(quantity, now)
      orders[2 * i] = quantity
      bare[quantity] = quantity > 0
    end
    if not bare[quantity] then
      codes[i] = 'I'
    elseif record then
      if words then
        codes[i] = is_same(record, quantity, words) and 'R' or 'X'
      else
        local start = starts[quantity]
        if not start then
          start = 'd:' .. quantity .. ':'
          starts[quantity] = start
        end
        codes[i] = string.sub(record, 1, #start) == start and 'R' or 'X'
      end
      answers[#answers + 1] = record
    elseif refusal then
      codes[i] = refusal
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
      accepted = accepted + 1
      if words then
        words.head = words.born .. ':' .. quantity .. ':' .. p.incarnation .. ':' .. seq .. after_seq
        record = format_record(words, '0:0:0')
        worded = worded or {}
        worded[i] = words
        if words.state == 'h' then
          holds[#holds + 1] = words.expires_at
          holds[#holds + 1] = field
        end
      else
        local digits = seq % 100
        if seq - digits ~= head_hundreds then heads, head_hundreds = {false}, seq - digits end
        local head = heads[quantity]
        if not head then
          head = seq < 100 and string.format('d:%d:%d:', quantity, p.incarnation)
            or string.format('d:%d:%d:%d', quantity, p.incarnation, head_hundreds / 100)
          heads[quantity] = head
        end
        record = head .. (seq < 100 and digits or TWO_DIGITS[digits]) .. after_seq
      end
      if count > 1 then fresh[field] = record end
      written[2 * accepted - 1], written[2 * accepted] = field, record
      if bought then
        local buyer = buyer_of(field)
        bought[buyer] = bought[buyer] + quantity
        changed[buyer] = bought[buyer]
      end
    end
  end

  local seq_before = p.seq
  if accepted > 0 then
    take_units(p, p.left_a + p.left_b - left)
    p.seq = seq
    local events = worded and mixed_events(orders, fields, codes, worded)
      or plain_events(orders, fields, codes, accepted)
    local packed = cmsgpack.pack(events)
    fence.busy = true
    if not append_events(keys[4], p, seq_before, worded and 'mixed' or 'deducted', now, packed) then
      return fence_broken(keys[1])
    end
    redis.call('HSET', keys[2], unpack(written))
    if bought then
      local units = {}
      for buyer, count in pairs(changed) do
        units[#units + 1] = buyer
        units[#units + 1] = count
      end
      redis.call('HSET', keys[3], unpack(units))
    end
    if #holds > 0 then redis.call('ZADD', keys[5], unpack(holds)) end
    redis.call('HSET', keys[1], 'left_a', p.left_a, 'left_b', p.left_b, 'active', p.active, 'seq', p.seq,
      'taken', p.taken, 'clock', now)
    fence.seq = p.seq
    fence.busy = false
  elseif #answers > 0 and copied then
    -- WAIT covers the writes of its own connection alone, and the sale may have been another's.
    redis.call('HINCRBY', keys[1], 'replays', 1)
  end
  return {'OK', seq_before, p.left_a, p.left_b, p.active, wants_refill(p) and 1 or 0, p.taken, now,
    spell(codes, count, accepted), unpack(answers)}
end

local function read_batch(keys, args, before)
  local orders, fields = read_orders(args[before + 3])
  return {
    keys = keys, incarnation = integer(args[before + 1]), take = args[before + 2] == '1', orders = orders, fields = fields,
  }
end

local function deduct_batches(keys, args)
  local deadline, copied, time = integer(args[1]), args[2] == '1', server_ms()
  return decide_each(
    read_batches(keys, args, 3, read_batch), function(batch) return deduct_batch(batch, time, deadline, copied) end)
end

redis.register_function('hs_deduct', deduct_batches)
