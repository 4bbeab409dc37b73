-- hs_configure: tells a partition its item's configuration; it keeps the newest that it has heard of.
-- KEYS  1 meta (hash)
-- ARGV  1 incarnation (integer)   2 to 7 the configuration (integers, see `read_configuration`)
-- Reply {'OK', the version that it has now} | {'STALE', incarnation} | {'FENCED'}
local function configure_partition(keys, args)
  local configuration = read_configuration(args, 2)
  local p, fence = pass_fence(keys[1], integer(args[1]))
  if not p then return fence end
  if configuration.version <= p.version then return {'OK', p.version} end
  fence.busy = true
  write_configuration(keys[1], configuration)
  fence.busy = false
  return {'OK', configuration.version}
end

-- It must work out of memory too: a sale can be paused and closed whatever happens.
redis.register_function{function_name = 'hs_configure', callback = configure_partition, flags = {'allow-oom'}}
