#!lua flags=allow-oom
-- Take turns back: the log ends where it ended before them, as if they had never been. Waiting turns
-- stay. The epoch in the new log head says whether this is an undo (the same) or a reset (one more).
--
-- KEYS[1] meta      hash of the conversation
-- KEYS[2] log       list of token blocks
-- KEYS[3] turns     list of the turns that can be taken back, one for each of the newest blocks
-- KEYS[4] last      string: the last turn
-- KEYS[5] partial   string: what the head's reply has drawn, from a log that is no more
-- KEYS[6] rewound   string: the record of this very operation
-- ARGV[1] log head I read   ARGV[2] turns to take back, or "all"   ARGV[3] log head to go back to
-- ARGV[4] rewound record   ARGV[5] seconds to keep it
-- ARGV[6…] fields of meta for those who had not spoken by then
--
-- Returns 1; 0 when this operation was done before; -6 when the log is not the one I read. A turn
-- that is running meanwhile cannot commit (-6) and starts again. Run twice: the second returns 0 and
-- changes nothing, whatever was said in between.
if redis.call('EXISTS', KEYS[6]) == 1 then
  return 0
end
if (redis.call('HGET', KEYS[1], 'logHead') or '0:0:0') ~= ARGV[1] then
  return -6
end
local count = tonumber(ARGV[2])
if count and (redis.call('LLEN', KEYS[3]) < count or redis.call('LLEN', KEYS[2]) < count) then
  return -6
end
if count then
  redis.call('LTRIM', KEYS[2], 0, -1 - count)
  redis.call('LTRIM', KEYS[3], 0, -1 - count)
else
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'logStart', '0:0')
end
redis.call('HSET', KEYS[1], 'logHead', ARGV[3])
for index = 6, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[index])
end
redis.call('DEL', KEYS[4], KEYS[5])
redis.call('SET', KEYS[6], ARGV[4], 'EX', ARGV[5])
return 1
