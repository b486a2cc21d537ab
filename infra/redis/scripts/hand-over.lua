#!lua flags=allow-oom
-- Give the head back unfinished: keep what its reply had drawn, and let the lease go, in one atom. The
-- next claim gets both. The claim is not counted: its worker lives.
--
-- KEYS[1] lease
-- KEYS[2] mailbox
-- KEYS[3] meta      hash of the conversation
-- KEYS[4] partial   string: what the head's reply had drawn; a commit deletes it
-- ARGV[1] the lease I hold   ARGV[2] turn id   ARGV[3] attempt   ARGV[4] log head I started from
-- ARGV[5] partial record   ARGV[6] seconds to keep it
--
-- Returns the mailbox length, or -1 lease lost, -3 not the head, -6 the log is not the one I started
-- from; then nothing was kept. Run twice: the second returns -1.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local turn, attempt = string.match(redis.call('LINDEX', KEYS[2], 0) or '', '^%d+ (%d+) (%d+) ')
if turn ~= ARGV[2] or attempt ~= ARGV[3] then
  return -3
end
if (redis.call('HGET', KEYS[3], 'logHead') or '0:0:0') ~= ARGV[4] then
  return -6
end
redis.call('SET', KEYS[4], ARGV[5], 'EX', ARGV[6])
if tonumber(redis.call('HGET', KEYS[3], 'headClaims') or '0') > 0 then
  redis.call('HINCRBY', KEYS[3], 'headClaims', -1)
end
redis.call('DEL', KEYS[1])
return redis.call('LLEN', KEYS[2])
