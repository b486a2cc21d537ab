#!lua
-- Name a snapshot in its conversation's index, for a while: until truth has confirmed that the
-- conversation still stands there. (State Redis.)
--
-- KEYS[1] index     zset: log head -> its place in the log
-- ARGV[1] place   ARGV[2] log head   ARGV[3] seconds that an index made here lives unconfirmed
--
-- Returns 1 when the index is new, else 0. An index that was there keeps its life. Run twice: the
-- same again.
local new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
if new then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return new and 1 or 0
