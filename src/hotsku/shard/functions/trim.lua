-- hs_trim: drops the stream's entries that the ledger has.
-- KEYS  1 meta (hash)   2 stream (stream)
-- ARGV  1 incarnation (integer)   2 the ledger's watermark (integer)
-- Reply {'OK'} | {'STALE', incarnation} | {'FENCED'}, also when the ledger is ahead of the shard
local function trim_stream(keys, args)
  local through = integer(args[2])
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  if through > p.seq then return {'FENCED'} end
  if through <= p.trimmed then return {'OK'} end
  fence.busy = true
  redis.call('XTRIM', keys[2], 'MINID', p.incarnation .. '-' .. (through + 1))
  redis.call('HSET', keys[1], 'trimmed', through)
  fence.busy = false
  return {'OK'}
end

redis.register_function{function_name = 'hs_trim', callback = trim_stream, flags = {'allow-oom'}}
