#!lua flags=allow-oom
-- Drop the token blocks that every kept snapshot already contains.
--
-- KEYS[1] lease
-- KEYS[2] meta      hash of the conversation
-- KEYS[3] log       list of token blocks
-- ARGV[1] the lease I hold   ARGV[2] log start I read   ARGV[3] blocks to drop   ARGV[4] new log start
-- ARGV[5] epoch of the log I read
--
-- Returns the number of blocks left, or -1 lease lost, -6 the log does not start there any more or
-- was forgotten meanwhile. Run twice: the second is refused by its log start.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local epoch = string.match(redis.call('HGET', KEYS[2], 'logHead') or '0:0:0', '^%d+')
if (redis.call('HGET', KEYS[2], 'logStart') or '0:0') ~= ARGV[2] or epoch ~= ARGV[5] then
  return -6
end
redis.call('LTRIM', KEYS[3], tonumber(ARGV[3]), -1)
redis.call('HSET', KEYS[2], 'logStart', ARGV[4])
return redis.call('LLEN', KEYS[3])
