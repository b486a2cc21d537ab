#!lua
-- Name a snapshot in its conversation's index, for a while: until truth has confirmed that the
-- conversation still stands there. (State Redis.)
--
-- KEYS[1] index     zset: log head -> its place in the log
-- ARGV[1] place   ARGV[2] log head   ARGV[3] seconds that an index lives unconfirmed
--
-- Returns 1 when the index is new, else 0. One that was confirmed stays so; one that was not lives as
-- long as this name. Run twice: the same again.
local life = redis.call('TTL', KEYS[1])
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
if life ~= -1 then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return life == -2 and 1 or 0
