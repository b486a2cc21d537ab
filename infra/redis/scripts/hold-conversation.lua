#!lua flags=allow-oom
-- Take the lease of a conversation to save its state, mail or not. Not a claim of its head.
--
-- KEYS[1] lease     string "<fence>:<random>", expiring
-- KEYS[2] meta      hash of the conversation
-- ARGV[1] random part of the lease   ARGV[2] lease, ms   ARGV[3] log head that I want to save
--
-- Returns { fence, log start }, or { -4 } when somebody holds the lease, { -6 } when the log does not
-- end there. Run twice by one worker: the second run is refused by the first one's lease.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { -4 }
end
local heads = redis.call('HMGET', KEYS[2], 'logHead', 'logStart')
if heads[1] ~= ARGV[3] then
  return { -6 }
end
local fence = redis.call('HINCRBY', KEYS[2], 'fence', 1)
redis.call('SET', KEYS[1], fence .. ':' .. ARGV[1], 'PX', ARGV[2])
return { fence, heads[2] or '0:0' }
