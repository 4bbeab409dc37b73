-- hs_step: decides batches of steps in orders' lives, one of each of some partitions. Each is decided by itself, its
-- steps in their order: each is a compare-and-set of the order's record. A hold whose time is over is expired first,
-- whatever the step is; so a confirm and the end of a hold have one winner.
-- KEYS  six a partition: 1 meta (hash)   2 orders (hash: order field -> record)   3 buyers (hash: buyer -> units)
--       4 stream (stream)   5 holds (zset: order field -> expires at, ms)   6 ended (zset: order field -> ended at, ms)
-- ARGV  1 deadline (integer, ms of the shard's clock)   2 copied (0 or 1): 1 has replays written down, as in deduct.lua
--       and two a partition: 1 incarnation (integer)
--       2 steps (msgpack array of arrays {verb, order field, argument, 1 for a cart's line else 0}; at most 1,000); the
--         argument is the payment reference of confirm (string, at most 128 bytes, "" none), the ms that the hold lasts
--         at least from now of extend and begin_payment, the units in all of refund (0 all), and nothing of release
-- Reply an array with one reply a partition, in their order: {'OK', seq before, events, now (ms), codes, record, record,
--       ...} | {'LATE', now} past the deadline, nothing done | {'STALE', incarnation} | {'FENCED'} | {'FAILED', why} as
--       in deduct.lua
-- A code a step, in their order; all but - and I have a record each, as it is after the step:
--       A done now          R done before         N today's state does not allow it    X a cart's line, or none
--       O confirmed under another payment reference          - no record               I a bad argument
local MAX_PAYMENT_REF = 128 -- bytes

-- The steps of a batch and their order fields. What is not a batch is refused as a whole, before anything is written.
local function read_steps(packed)
  local steps, fields = cmsgpack.unpack(packed), {}
  for i = 1, table.maxn(steps) do
    local step = steps[i]
    if type(step) ~= 'table' or type(step[2]) ~= 'string' or step[2] == '' then
      error(redis.error_reply('HOTSKU a step has no order field'))
    end
    fields[i] = step[2]
  end
  if #fields < 1 or #fields > MAX_BATCH then
    error(redis.error_reply('HOTSKU a batch must have 1 to ' .. MAX_BATCH .. ' steps'))
  end
  return steps, fields
end

-- Confirmed, whether or not it was refunded since.
local function is_sold(r)
  return r.state == 'c' or r.state == 'f'
end

local function is_ttl(argument)
  return is_whole(argument, MAX_TTL_MS)
end

local function keep_until(changes, field, r, ttl, kind)
  r.expires_at = math.max(r.expires_at, changes.now + ttl)
  note_step(changes, field, r, kind, r.quantity, r.expires_at)
  keep_hold(changes, field, r)
  return 'A'
end

-- verb -> whether the argument can be one; and what the step makes of the record: its code.
local VERBS = {
  confirm = {
    takes = function(argument) return type(argument) == 'string' and #argument <= MAX_PAYMENT_REF end,
    step = function(changes, field, r, payment_ref)
      if is_sold(r) and (payment_ref == '' or payment_ref == r.payment_ref) then return 'R' end
      if r.state ~= 'h' and r.state ~= 'c' then return 'N' end
      if r.state == 'c' and r.payment_ref ~= '' then return 'O' end
      r.state, r.paying, r.payment_ref = 'c', false, payment_ref
      note_step(changes, field, r, 'confirmed', r.quantity, 0, payment_ref)
      keep_hold(changes, field, r)
      return 'A'
    end,
  },
  release = {
    takes = function() return true end,
    step = function(changes, field, r)
      if r.state ~= 'h' then return r.state == 'r' and 'R' or 'N' end
      end_hold(changes, field, r, 'released')
      return 'A'
    end,
  },
  extend = {
    takes = is_ttl,
    step = function(changes, field, r, ttl)
      if r.state ~= 'h' then return 'N' end
      return keep_until(changes, field, r, ttl, 'extended')
    end,
  },
  begin_payment = {
    takes = is_ttl,
    step = function(changes, field, r, ttl)
      if r.state ~= 'h' then return 'N' end
      if r.paying then return 'R' end
      r.paying = true
      return keep_until(changes, field, r, ttl, 'payment_begun')
    end,
  },
  refund = {
    takes = function(argument) return is_whole(argument, MAX_QUANTITY) end,
    step = function(changes, field, r, total)
      if not is_sold(r) then return 'N' end
      if total > r.quantity then return 'I' end
      if total == 0 then total = r.quantity end
      local units = total - r.refunded
      if units <= 0 then return 'R' end
      r.refunded = total
      if total == r.quantity then r.state = 'f' end
      note_step(changes, field, r, 'refunded', units)
      if changes.p.restores == 1 then give_back(changes, field, units) end
      return 'A'
    end,
  },
}

local function take_step(changes, r, step)
  local verb, field, argument, cart = VERBS[step[1]], step[2], step[3], step[4]
  if not verb or not verb.takes(argument) or not is_whole(cart, 1) then return 'I' end
  if not r then return '-' end
  expire_due(changes, field, r)
  -- What a cart has sold is refunded line by line: a cart takes no step after its decision.
  if r.cart ~= (cart == 1) and not (r.cart and step[1] == 'refund') then return 'X' end
  return verb.step(changes, field, r, argument)
end

local function step_batch(batch, time, deadline, copied)
  local keys, steps, fields = batch.keys, batch.steps, batch.fields
  local p, fence = pass_fence(keys[1], batch.incarnation)
  if not p then return fence end
  local now = clamp_clock(p, time)
  if not now then return {'FENCED'} end
  if now > deadline then return {'LATE', now} end
  local texts = redis.call('HMGET', keys[2], MARK, unpack(fields)) -- that of fields[i] is texts[i + 1]
  if not is_marked(texts[1], p.incarnation) then return fence_broken(keys[1]) end

  local seq_before, changes = p.seq, begin_changes(p, now)
  local records, codes, answers = {}, {}, {} -- records by field: the same order may come again in the batch
  for i, step in ipairs(steps) do
    local field = fields[i]
    local r = records[field] or (texts[i + 1] and parse_record(texts[i + 1]))
    records[field] = r
    codes[i] = take_step(changes, r, step)
    if codes[i] ~= '-' and codes[i] ~= 'I' then answers[#answers + 1] = r.text end
  end
  if not write_changes(keys, fence, changes) then return {'FENCED'} end
  if #changes.events == 0 and #answers > 0 and copied then redis.call('HINCRBY', keys[1], 'replays', 1) end
  return {'OK', seq_before, #changes.events, now, table.concat(codes), unpack(answers)}
end

local function read_step_batch(keys, args, before)
  local steps, fields = read_steps(args[before + 2])
  return {keys = keys, incarnation = integer(args[before + 1]), steps = steps, fields = fields}
end

local function step_batches(keys, args)
  local deadline, copied, time = integer(args[1]), args[2] == '1', server_ms()
  return decide_each(
    read_batches(keys, args, 2, read_step_batch), function(batch) return step_batch(batch, time, deadline, copied) end)
end

-- It must work out of memory too: what it ends gives memory back.
redis.register_function{function_name = 'hs_step', callback = step_batches, flags = {'allow-oom'}}
