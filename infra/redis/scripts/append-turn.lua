#!lua
-- Put a turn at the end of its conversation's mailbox, once.
--
-- KEYS[1] mailbox   list of "<seq> <turn> <attempt> <record>"
-- KEYS[2] meta      hash of the conversation
-- KEYS[3] known     string: seq of this turn, kept long after the turn ended
-- KEYS[4] dirty     zset of the bucket: conversation with mail -> time of its last append, ms
-- KEYS[5] active    zset of the bucket: every conversation -> time of its last append, ms
-- ARGV[1] turn id   ARGV[2] attempt   ARGV[3] record (checked by its reader)
-- ARGV[4] conversation   ARGV[5] model   ARGV[6] mailbox length at most   ARGV[7] known, seconds
-- ARGV[8] community, or ''
--
-- Returns { seq, mailbox length }, or { 0, length } when the turn is known, or { -5, length } when
-- the mailbox is full. Run twice: the second run finds the turn known and writes nothing.
local length = redis.call('LLEN', KEYS[1])
if redis.call('EXISTS', KEYS[3]) == 1 then
  return { 0, length }
end
if length >= tonumber(ARGV[6]) then
  return { -5, length }
end
local time = redis.call('TIME')
local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
redis.call('HSET', KEYS[2], 'model', ARGV[5])
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[2], 'community', ARGV[8])
end
redis.call('RPUSH', KEYS[1], seq .. ' ' .. ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
redis.call('SET', KEYS[3], seq, 'EX', ARGV[7])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[4], now, ARGV[4])
redis.call('ZADD', KEYS[5], now, ARGV[4])
return { seq, length + 1 }
