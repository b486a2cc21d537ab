#!lua flags=allow-oom
-- Give a lease back, and tell whether there is more to do.
--
-- KEYS[1] lease
-- KEYS[2] mailbox
-- KEYS[3] meta      hash of the conversation
-- ARGV[1] the lease I hold   ARGV[2] "forgive": this claim did not fail, do not count it
--
-- Returns the mailbox length, or -1 when the lease is no longer mine. Run twice: the second is -1.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if ARGV[2] == 'forgive' and tonumber(redis.call('HGET', KEYS[3], 'headClaims') or '0') > 0 then
  redis.call('HINCRBY', KEYS[3], 'headClaims', -1)
end
redis.call('DEL', KEYS[1])
return redis.call('LLEN', KEYS[2])
