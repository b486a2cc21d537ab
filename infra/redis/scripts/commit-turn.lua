#!lua flags=allow-oom
-- End a turn: the one atom that advances a conversation. Also ends a failed turn (empty block).
--
-- KEYS[1] lease
-- KEYS[2] meta      hash of the conversation
-- KEYS[3] mailbox
-- KEYS[4] log       list of token blocks
-- KEYS[5] reply     string: the reply record
-- KEYS[6] outbox    zset of the bucket: "<conversation> <turn> <attempt>" -> commit time, ms
-- KEYS[7] dirty     zset of the bucket
-- KEYS[8] turns     list of the turns that can be taken back
-- KEYS[9] last      string: "<1 if it has a block, else 0> <mailbox entry>" of the last turn
-- KEYS[10] partial  string: what the head's reply has drawn, for who goes on with it
-- ARGV[1] the lease I hold   ARGV[2] turn id   ARGV[3] attempt   ARGV[4] log head I started from
-- ARGV[5] token block ('' for none)   ARGV[6] new log head   ARGV[7] reply record
-- ARGV[8] conversation   ARGV[9] seconds to keep the record when nobody has to deliver it, or 0
-- ARGV[10] entry for turns   ARGV[11] turns kept   ARGV[12] seconds to keep last
-- ARGV[13] field of meta for who asked   ARGV[14] its value, unless it has one: their first turn
--
-- Returns the mailbox length left, or -1 lease lost, -2 already committed, -3 not the head,
-- -6 the log is not the one I started from. Everything is checked before the first write: a script
-- is not rolled back. Run twice: the second returns -2 and changes nothing.
if redis.call('EXISTS', KEYS[5]) == 1 then
  return -2
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local head = redis.call('LINDEX', KEYS[3], 0)
local seq, turn, attempt = string.match(head or '', '^(%d+) (%d+) (%d+) ')
if turn ~= ARGV[2] or attempt ~= ARGV[3] then
  return -3
end
if (redis.call('HGET', KEYS[2], 'logHead') or '0:0:0') ~= ARGV[4] then
  return -6
end
local spoke = '0'
if ARGV[5] ~= '' then
  spoke = '1'
  redis.call('RPUSH', KEYS[4], ARGV[5])
  redis.call('RPUSH', KEYS[8], ARGV[10])
  redis.call('LTRIM', KEYS[8], -tonumber(ARGV[11]), -1)
  if ARGV[13] then
    redis.call('HSETNX', KEYS[2], ARGV[13], ARGV[14])
  end
end
-- A fork that goes its own way no longer names the conversation that it came from.
redis.call('HDEL', KEYS[2], 'source')
redis.call('SET', KEYS[9], spoke .. ' ' .. head, 'EX', ARGV[12])
redis.call('HSET', KEYS[2], 'logHead', ARGV[6], 'committedSeq', seq, 'headClaims', 0)
if ARGV[9] == '0' then
  local time = redis.call('TIME')
  local member = ARGV[8] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]
  redis.call('SET', KEYS[5], ARGV[7])
  redis.call('ZADD', KEYS[6], time[1] * 1000 + math.floor(time[2] / 1000), member)
else
  redis.call('SET', KEYS[5], ARGV[7], 'EX', ARGV[9])
end
redis.call('LPOP', KEYS[3])
redis.call('DEL', KEYS[10])
local left = redis.call('LLEN', KEYS[3])
if left == 0 then
  redis.call('ZREM', KEYS[7], ARGV[8])
end
return left
