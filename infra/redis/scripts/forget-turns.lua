#!lua flags=allow-oom
-- Take turns out of a conversation with everything that is kept under their names, as if they had
-- never been asked. What they fed to the model is not in these keys: take that back first.
--
-- KEYS[1] mailbox
-- KEYS[2] meta      hash of the conversation
-- KEYS[3] lease
-- KEYS[4] last      string: the last turn
-- KEYS[5] partial   string: what the head's reply has drawn, for who goes on with it
-- KEYS[6] dirty     zset of the bucket
-- KEYS[7] outbox    zset of the bucket
-- KEYS[8…] keys named after the turns, to be deleted
-- ARGV[1] conversation   ARGV[2] last as I read it if it is one of them, else ''
-- ARGV[3] number of mailbox entries   ARGV[4…] the entries, as I read them, then outbox members
--
-- Returns how many turns waited. When the head was one of them, who works on it loses the lease and
-- cannot commit, and what its reply had drawn goes with it. Run twice: the second finds nothing.
local waited = 0
local entries = tonumber(ARGV[3])
for index = 4, 3 + entries do
  local isHead = redis.call('LINDEX', KEYS[1], 0) == ARGV[index]
  local removed = redis.call('LREM', KEYS[1], 1, ARGV[index])
  waited = waited + removed
  if isHead and removed == 1 then
    redis.call('DEL', KEYS[3], KEYS[5])
    redis.call('HSET', KEYS[2], 'headClaims', 0)
  end
end
if redis.call('LLEN', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[6], ARGV[1])
end
if ARGV[2] ~= '' and redis.call('GET', KEYS[4]) == ARGV[2] then
  redis.call('DEL', KEYS[4])
end
for index = 8, #KEYS do
  redis.call('DEL', KEYS[index])
end
for index = 4 + entries, #ARGV do
  redis.call('ZREM', KEYS[7], ARGV[index])
end
return waited
