-- hs_end: ends an incarnation here for good: nobody can arm it any more, also not whoever proved its memory a moment ago.
-- The ledger closes it after this.
-- KEYS  1 meta (hash)
-- ARGV  1 incarnation (integer)
-- Reply {'OK'} it is over, or is not here
local function end_incarnation(keys, args)
  local p = read_partition(keys[1])
  if p and p.incarnation == integer(args[1]) then
    armed[keys[1]] = nil
    redis.call('HSET', keys[1], 'ended', 1)
  end
  return {'OK'}
end

-- It must work out of memory too: what is over holds memory that its successor gives back.
redis.register_function{function_name = 'hs_end', callback = end_incarnation, flags = {'allow-oom'}}
