#!lua flags=allow-oom
-- Delete everything of a conversation in truth, in one atom.
--
-- KEYS[1] meta      hash of the conversation
-- KEYS[2] mailbox
-- KEYS[3] dirty     zset of the bucket
-- KEYS[4] outbox    zset of the bucket
-- KEYS[5] active    zset of the bucket
-- KEYS[6…] every other key that the conversation has or may have by now
-- ARGV[1] conversation   ARGV[2] seq I read   ARGV[3] committed seq I read   ARGV[4…] outbox members
--
-- Returns the number of keys deleted, or -6 when turns were appended or committed since the keys
-- were looked up: look again. A worker that runs a turn of it has lost its lease and cannot commit.
-- Run twice: the second finds nothing to delete.
local seqs = redis.call('HMGET', KEYS[1], 'seq', 'committedSeq')
if (seqs[1] or '0') ~= ARGV[2] or (seqs[2] or '0') ~= ARGV[3] then
  return -6
end
local deleted = redis.call('DEL', KEYS[1], KEYS[2])
for index = 6, #KEYS do
  deleted = deleted + redis.call('DEL', KEYS[index])
end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
for index = 4, #ARGV do
  redis.call('ZREM', KEYS[4], ARGV[index])
end
return deleted
