#!lua
-- Begin a conversation with the history of another one: the second step of a fork. The first one
-- copied its snapshots.
--
-- KEYS[1] meta      hash of the new conversation
-- KEYS[2] log       list of token blocks
-- KEYS[3] turns     list of the turns that can be taken back
-- KEYS[4] active    zset of the bucket: every conversation -> time of its last append, ms
-- ARGV[1] log head   ARGV[2] log start   ARGV[3] model   ARGV[4] the operation that plants it
-- ARGV[5] the new conversation   ARGV[6] its community, or ''
-- ARGV[7] the conversation it is a copy of
-- ARGV[8] number of blocks   ARGV[9] number of turns
-- ARGV[10…] the blocks, then the turns, oldest first, then field and value for each who spoke
--
-- Returns 1; 0 when this operation planted it before, whatever was said there since; -2 when the
-- conversation exists and is somebody else's. Run twice: the second returns 0 and changes nothing.
local planted = redis.call('HGET', KEYS[1], 'planted')
if planted == ARGV[4] then
  return 0
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return -2
end
local turns = 10 + tonumber(ARGV[8])
local speakers = turns + tonumber(ARGV[9])
for index = 10, speakers - 1 do
  local list = index < turns and KEYS[2] or KEYS[3]
  redis.call('RPUSH', list, ARGV[index])
end
for index = speakers, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
end
redis.call('HSET', KEYS[1], 'logHead', ARGV[1], 'logStart', ARGV[2], 'model', ARGV[3])
redis.call('HSET', KEYS[1], 'planted', ARGV[4], 'source', ARGV[7])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'community', ARGV[6])
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[4], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[5])
return 1
