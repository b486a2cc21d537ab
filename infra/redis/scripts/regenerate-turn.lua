#!lua
-- Answer the last turn again: take it back and put it into the mailbox as its next attempt, in one
-- atom, so that no attempt is lost and never two are in the log.
--
-- KEYS[1] meta      hash of the conversation
-- KEYS[2] log       list of token blocks
-- KEYS[3] turns     list of the turns that can be taken back
-- KEYS[4] last      string: the last turn
-- KEYS[5] rewound   string: the record of this very operation
-- KEYS[6] mailbox
-- KEYS[7] dirty     zset of the bucket
-- KEYS[8] outbox    zset of the bucket
-- KEYS[9] known     string: seq of this turn
-- KEYS[10] reply    string: record of the attempt that is taken back
-- KEYS[11] delivery hash: part number -> Discord message id, of that attempt
-- KEYS[12] next     hash: the same of the next attempt, whose text goes into the same messages
-- KEYS[13] active   zset of the bucket: every conversation -> time of its last append, ms
-- KEYS[14] stop     string: a stop of the turn, which was for the attempt before
-- ARGV[1] last as I read it   ARGV[2] log head I read   ARGV[3] log head to go back to
-- ARGV[4] rewound record   ARGV[5] seconds to keep it
-- ARGV[6] "<turn> <next attempt> <record>"   ARGV[7] outbox member of the attempt taken back
-- ARGV[8] conversation   ARGV[9] known, seconds
--
-- Returns the new seq; 0 when this operation was done before; -3 when another turn was answered or
-- waits; -6 when the log is not the one I read. Run twice: the second returns 0 and changes nothing.
if redis.call('EXISTS', KEYS[5]) == 1 then
  return 0
end
local last = redis.call('GET', KEYS[4])
if last ~= ARGV[1] or redis.call('LLEN', KEYS[6]) > 0 then
  return -3
end
local spoke = string.sub(last, 1, 1) == '1'
if (redis.call('HGET', KEYS[1], 'logHead') or '0:0:0') ~= ARGV[2] then
  return -6
end
if spoke and (redis.call('LLEN', KEYS[3]) < 1 or redis.call('LLEN', KEYS[2]) < 1) then
  return -6
end
if spoke then
  redis.call('RPOP', KEYS[2])
  redis.call('RPOP', KEYS[3])
  redis.call('HSET', KEYS[1], 'logHead', ARGV[3])
end
redis.call('DEL', KEYS[4])
local time = redis.call('TIME')
local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
redis.call('RPUSH', KEYS[6], seq .. ' ' .. ARGV[6])
redis.call('SET', KEYS[9], seq, 'EX', ARGV[9])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[7], now, ARGV[8])
redis.call('ZADD', KEYS[13], now, ARGV[8])
redis.call('DEL', KEYS[10], KEYS[14])
redis.call('ZREM', KEYS[8], ARGV[7])
if redis.call('EXISTS', KEYS[11]) == 1 then
  redis.call('RENAME', KEYS[11], KEYS[12])
end
redis.call('SET', KEYS[5], ARGV[4], 'EX', ARGV[5])
return seq
