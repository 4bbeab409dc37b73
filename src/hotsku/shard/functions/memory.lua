-- hs_memory: the name of this memory, to hand in to `hs_begin` and `hs_arm`.
-- KEYS  1 meta (hash): any partition's of this shard
-- Reply string
redis.register_function{function_name = 'hs_memory', callback = name_memory, flags = {'no-writes'}}
