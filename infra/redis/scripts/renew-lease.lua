#!lua flags=allow-oom
-- Go on holding a lease.
--
-- KEYS[1] lease
-- ARGV[1] the lease I hold   ARGV[2] ms from now
--
-- Returns 1, or -1 when the lease is no longer mine. Run twice: the lease is as long as the later.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
