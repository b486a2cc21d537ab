#!lua flags=allow-oom
-- Give a lease back, and tell whether there is more to do.
--
-- KEYS[1] lease
-- KEYS[2] mailbox
-- KEYS[3] meta      hash of the conversation
-- ARGV[1] the lease I hold
-- ARGV[2] "<turn> <attempt>" of the head whose claim is not to be counted, or '': its worker lives
--
-- Returns the mailbox length, or -1 when the lease is no longer mine; also then the claim is uncounted,
-- if that head is still the head. Run twice: the second is -1, and one claim too many may be uncounted,
-- which is worth one more try.
if ARGV[2] ~= '' then
  local head = string.match(redis.call('LINDEX', KEYS[2], 0) or '', '^%d+ (%d+ %d+) ')
  if head == ARGV[2] and tonumber(redis.call('HGET', KEYS[3], 'headClaims') or '0') > 0 then
    redis.call('HINCRBY', KEYS[3], 'headClaims', -1)
  end
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
redis.call('DEL', KEYS[1])
return redis.call('LLEN', KEYS[2])
