#!lua
-- Put a conversation from a backup into truth, in one atom. Its snapshots are there already.
--
-- KEYS[1] meta      hash of the conversation
-- KEYS[2] active    zset of the bucket
-- KEYS[3] dirty     zset of the bucket
-- KEYS[4] outbox    zset of the bucket
-- KEYS[5…] the other keys of the conversation
-- ARGV[1] conversation   ARGV[2] "1" if it has mail   ARGV[3] number of outbox members
-- ARGV[4…] the members; then, for meta and each of the others: type, ms to live or -1, number of
-- values, the values
--
-- Returns 1, or -2 when the conversation exists: nothing of it is touched. Run twice: the second
-- returns -2.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return -2
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  redis.call('ZADD', KEYS[4], now, ARGV[at])
  at = at + 1
end
local key = 1
while at <= #ARGV do
  local name, kind, life = KEYS[key], ARGV[at], tonumber(ARGV[at + 1])
  local last = at + 2 + tonumber(ARGV[at + 2])
  redis.call('DEL', name)
  for index = at + 3, last, kind == 'hash' and 2 or 1 do
    if kind == 'hash' then
      redis.call('HSET', name, ARGV[index], ARGV[index + 1])
    elseif kind == 'list' then
      redis.call('RPUSH', name, ARGV[index])
    else
      redis.call('SET', name, ARGV[index])
    end
  end
  if life > 0 then
    redis.call('PEXPIRE', name, life)
  end
  at = last + 1
  key = key == 1 and 5 or key + 1
end
redis.call('ZADD', KEYS[2], now, ARGV[1])
if ARGV[2] == '1' then
  redis.call('ZADD', KEYS[3], now, ARGV[1])
end
return 1
