#!lua flags=allow-oom
-- End a turn whose mailbox entry has rotted: it leaves the mailbox as one that failed. Nothing of the
-- entry is kept, so it cannot be asked again.
--
-- KEYS[1] lease
-- KEYS[2] meta      hash of the conversation
-- KEYS[3] mailbox
-- KEYS[4] last      string: the last turn
-- KEYS[5] partial   string: what the head's reply has drawn, for who goes on with it
-- KEYS[6] dirty     zset of the bucket
-- KEYS[7] outbox    zset of the bucket
-- KEYS[8…] reply    string: the reply record, if it can be told which turn it was; none or one
-- ARGV[1] the lease I hold   ARGV[2] the entry, as I read it   ARGV[3] conversation
-- ARGV[4] reply record   ARGV[5] outbox member   ARGV[6] seconds to keep the record when nobody has
-- to deliver it, or 0; these three only with a reply
--
-- Returns the mailbox length left, or -1 lease lost, -3 not the head. A record that is there stands.
-- Run twice: the second returns -3, unless the same rot comes next.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if redis.call('LINDEX', KEYS[3], 0) ~= ARGV[2] then
  return -3
end
for place = 8, #KEYS do
  local reply = KEYS[place]
  if redis.call('EXISTS', reply) == 1 then
    break
  end
  if ARGV[6] == '0' then
    local time = redis.call('TIME')
    redis.call('SET', reply, ARGV[4])
    redis.call('ZADD', KEYS[7], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[5])
  else
    redis.call('SET', reply, ARGV[4], 'EX', ARGV[6])
  end
end
-- Its own number may have rotted with it: this one is not beyond those of the mail behind it.
redis.call('HINCRBY', KEYS[2], 'committedSeq', 1)
redis.call('HSET', KEYS[2], 'headClaims', 0)
redis.call('LPOP', KEYS[3])
redis.call('DEL', KEYS[4], KEYS[5])
local left = redis.call('LLEN', KEYS[3])
if left == 0 then
  redis.call('ZREM', KEYS[6], ARGV[3])
end
return left
