-- What the functions share that look after orders: the record, and the changes that a call makes to orders. A call
-- gathers its changes while it decides, and writes all of them at its end.
--
-- Record  <born>:<quantity>:<incarnation>:<seq>:<at>, and behind it, unless it is a deduction that nothing has happened
--         to since, without metadata:
--         :<state>:<flags>:<expires at>:<refunded>:<step incarnation>:<step seq>:<step at>:<length of the payment
--         reference>:<payment reference><metadata>
--         born d deducted, h held; state h held, c confirmed, r released, e expired, f refunded; flags add 1 (in
--         payment) and 2 (a cart's line); times in ms
-- Event   {kind, order field, quantity, expires at, payment reference, metadata, 1 for a cart's line else 0}
local PAYING, CART = 1, 2
local MAX_TTL_MS = 1e11

-- Payment reference and metadata are any bytes. What is matched here ends before them, wherever they have colons.
local HEAD = '^(([dh]):(%d+):%d+:%d+:%d+)()'
local TAIL = '^:(%a):(%d+):(%d+):(%d+):%d+:%d+:%d+:(%d+):()'

local function parse_record(text)
  local head, born, quantity, from = string.match(text, HEAD)
  local r = {text = text, head = head, born = born, quantity = tonumber(quantity)}
  if from > #text then
    r.state, r.paying, r.cart, r.expires_at, r.refunded, r.payment_ref, r.metadata = 'c', false, false, 0, 0, '', ''
    return r
  end
  local state, flags, expires_at, refunded, length, rest = string.match(text, TAIL, from)
  r.state, r.expires_at, r.refunded = state, tonumber(expires_at), tonumber(refunded)
  r.paying, r.cart = flags % CART == PAYING, flags - CART >= 0
  r.payment_ref = string.sub(text, rest, rest + length - 1)
  r.metadata = string.sub(text, rest + length)
  return r
end

-- A record with its tail; `step` is '<step incarnation>:<step seq>:<step at>', of zeros where there was none.
local function format_record(r, step)
  local flags = (r.paying and PAYING or 0) + (r.cart and CART or 0)
  return r.head .. ':' .. r.state .. ':' .. flags .. ':' .. r.expires_at .. ':' .. r.refunded .. ':' .. step .. ':'
    .. #r.payment_ref .. ':' .. r.payment_ref .. r.metadata
end

-- A whole number from 0 to `most`.
local function is_whole(value, most)
  return type(value) == 'number' and value >= 0 and value <= most and value % 1 == 0
end

-- The buyer of an order field: its first character is "0" + the buyer's length.
local function buyer_of(field)
  return string.sub(field, 2, string.byte(field) - 47)
end

-- buyer -> units so far, for the buyers of the order fields; and of the mark.
local function read_buyers(key, fields)
  local names, units = {MARK}, {}
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

-- What a call is about to do to orders of partition `p`. `given_back` counts units by buyer.
local function begin_changes(p, now)
  return {p = p, now = now, events = {}, fields = {}, texts = {}, holds = {}, ended = {}, given_back = {}}
end

-- Takes the next seq for a step of an order, and has its record written.
local function note_step(changes, field, r, kind, quantity, expires_at, payment_ref)
  local p = changes.p
  p.seq = p.seq + 1
  if not changes.texts[field] then changes.fields[#changes.fields + 1] = field end
  r.text = format_record(r, p.incarnation .. ':' .. p.seq .. ':' .. changes.now)
  changes.texts[field] = r.text
  changes.events[#changes.events + 1] = {kind, field, quantity, expires_at or 0, payment_ref or '', '', 0}
end

local function give_back(changes, field, units)
  if changes.p.limit == 0 then return end
  local buyer = buyer_of(field)
  changes.given_back[buyer] = (changes.given_back[buyer] or 0) + units
end

-- Has the hold's time kept in the set of holds, or has it removed where the hold is over.
local function keep_hold(changes, field, r)
  changes.holds[field] = r.state == 'h' and r.expires_at
end

local ENDS = {released = 'r', expired = 'e'}

-- Ends a hold. Its units do not go back to the buckets: the ledger puts them into the pool.
local function end_hold(changes, field, r, kind)
  r.state, r.paying = ENDS[kind], false
  note_step(changes, field, r, kind, r.quantity)
  give_back(changes, field, r.quantity)
  keep_hold(changes, field, r)
  changes.ended[field] = changes.now
end

-- Ends a hold whose time is over, and says whether it was one. Of a cart's line the cart decides.
local function expire_due(changes, field, r)
  if r.state ~= 'h' or r.cart or r.expires_at > changes.now then return false end
  end_hold(changes, field, r, 'expired')
  return true
end

-- Splits (order field -> score, or false to remove it) into what ZADD and ZREM take.
local function split_scores(scores)
  local added, removed = {}, {}
  for field, score in pairs(scores) do
    if score then
      added[#added + 1] = score
      added[#added + 1] = field
    else
      removed[#removed + 1] = field
    end
  end
  return added, removed
end

local function write_scores(key, added, removed)
  if #added > 0 then redis.call('ZADD', key, unpack(added)) end
  if #removed > 0 then redis.call('ZREM', key, unpack(removed)) end
end

-- What the buyers have after `given_back`, as HSET and HDEL take it: who has nothing leaves.
local function split_buyers(key, given_back)
  local names, kept, gone = {}, {}, {}
  for buyer in pairs(given_back) do names[#names + 1] = buyer end
  local values = #names > 0 and redis.call('HMGET', key, unpack(names))
  for i, buyer in ipairs(names) do
    local units = (tonumber(values[i]) or 0) - given_back[buyer]
    if units > 0 then
      kept[#kept + 1] = buyer
      kept[#kept + 1] = units
    else
      gone[#gone + 1] = buyer
    end
  end
  return kept, gone
end

-- Writes what was gathered, if it was anything. False where the stream is gone: the partition is fenced then, and the
-- caller says so. KEYS as in step.lua.
local function write_changes(keys, fence, changes)
  if #changes.events == 0 then return true end
  local p, written = changes.p, {}
  for i, field in ipairs(changes.fields) do
    written[2 * i - 1], written[2 * i] = field, changes.texts[field]
  end
  local held, let_go = split_scores(changes.holds)
  local ended = split_scores(changes.ended)
  local kept, gone = split_buyers(keys[3], changes.given_back)
  local events = cmsgpack.pack(changes.events)
  fence.busy = true
  if not append_events(keys[4], p, fence.seq, 'mixed', changes.now, events) then
    fence_broken(keys[1])
    return false
  end
  redis.call('HSET', keys[2], unpack(written))
  if #kept > 0 then redis.call('HSET', keys[3], unpack(kept)) end
  if #gone > 0 then redis.call('HDEL', keys[3], unpack(gone)) end
  write_scores(keys[5], held, let_go)
  write_scores(keys[6], ended, {})
  redis.call('HSET', keys[1], 'seq', p.seq, 'clock', changes.now)
  fence.seq = p.seq
  fence.busy = false
  return true
end

-- How many orders one call looks at: `most`, within what a call can write.
local function page_size(most)
  return math.max(1, math.min(most, MAX_BATCH))
end

-- Calls `visit` with every one of the order fields and its record.
local function visit_orders(keys, fields, visit)
  if #fields == 0 then return end
  local texts = redis.call('HMGET', keys[2], unpack(fields))
  for i = 1, #fields do
    if texts[i] then visit(fields[i], parse_record(texts[i])) end
  end
end

-- meta, orders, buyers, stream, holds, ended: a function that decides batches of several partitions takes six of each.
local KEYS_A_PARTITION = 6

-- The batches of a call, which has two arguments, and `arguments` more for each of its partitions. `read` makes a batch
-- of the arguments behind a place; all are read before the first is decided, so that what is no batch is refused with
-- the whole call.
local function read_batches(keys, args, arguments, read)
  local count = #keys / KEYS_A_PARTITION
  if count % 1 ~= 0 or #args ~= 2 + count * arguments then
    error(redis.error_reply('HOTSKU a partition has ' .. KEYS_A_PARTITION .. ' keys and ' .. arguments .. ' arguments'))
  end
  local batches = {}
  for i = 1, count do
    local key = (i - 1) * KEYS_A_PARTITION
    batches[i] = read({unpack(keys, key + 1, key + KEYS_A_PARTITION)}, args, 2 + (i - 1) * arguments)
  end
  return batches
end

-- Calls `decide` for each batch, of another partition each, and returns the replies. One partition whose keys are not
-- what they should be ends there, and where that is half done, fenced (`busy` stays set); it does not take its neighbours
-- along, who may have sold.
local function decide_each(batches, decide)
  local replies = {}
  for i, batch in ipairs(batches) do
    local done, reply = pcall(decide, batch)
    if not done then reply = {'FAILED', type(reply) == 'table' and reply.err or tostring(reply)} end
    replies[i] = reply
  end
  return replies
end
