#!lua flags=allow-oom
-- Go on holding a lease, and keep what the head's reply has drawn so far: whoever comes after a worker
-- that dies goes on from there.
--
-- KEYS[1] lease
-- KEYS[2] mailbox
-- KEYS[3] meta      hash of the conversation
-- KEYS[4] partial   string: what the head's reply had drawn; a commit deletes it
-- ARGV[1] the lease I hold   ARGV[2] ms from now
-- ARGV[3] turn id   ARGV[4] attempt   ARGV[5] log head I started from
-- ARGV[6] partial record, or '' when there is nothing new to keep   ARGV[7] seconds to keep it
--
-- Returns 1, or -1 when the lease is no longer mine. A record that no longer belongs to the head, or to
-- this log, is not kept. Run twice: the lease is as long as the later.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[6] ~= '' then
  local turn, attempt = string.match(redis.call('LINDEX', KEYS[2], 0) or '', '^%d+ (%d+) (%d+) ')
  local logHead = redis.call('HGET', KEYS[3], 'logHead') or '0:0:0'
  if turn == ARGV[3] and attempt == ARGV[4] and logHead == ARGV[5] then
    redis.call('SET', KEYS[4], ARGV[6], 'EX', ARGV[7])
  end
end
return 1
