#!lua flags=allow-oom
-- Take the right to work on a conversation: a lease that runs out, and a fence that only grows.
--
-- KEYS[1] lease     string "<fence>:<random>", expiring
-- KEYS[2] meta      hash of the conversation
-- KEYS[3] mailbox   list of turns
-- KEYS[4] partial   string: what an earlier worker had drawn of the reply
-- ARGV[1] random part of the lease, drawn by the worker: after a failover the fence alone may repeat
-- ARGV[2] lease, ms   ARGV[3] worker id
-- ARGV[4] claims of this head so far that are too many, or ''
--
-- Returns { -4, ms left } when somebody holds it, { -7 } when there is no mail, { -8 } when its head was
-- claimed too often, else
-- { fence, head entry, log head, log start, claims of this head, previous worker, the conversation
-- that this one was forked from or '', partial or '' }.
-- Run twice by one worker: the second run is refused by the first one's lease.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { -4, redis.call('PTTL', KEYS[1]) }
end
local head = redis.call('LINDEX', KEYS[3], 0)
if not head then
  return { -7 }
end
if ARGV[4] ~= '' then
  local claimed = redis.call('HGET', KEYS[2], 'headClaims') or '0'
  if tonumber(claimed) >= tonumber(ARGV[4]) then
    return { -8 }
  end
end
local before = redis.call('HMGET', KEYS[2], 'logHead', 'logStart', 'worker', 'source')
local fence = redis.call('HINCRBY', KEYS[2], 'fence', 1)
local claims = redis.call('HINCRBY', KEYS[2], 'headClaims', 1)
redis.call('HSET', KEYS[2], 'worker', ARGV[3])
redis.call('SET', KEYS[1], fence .. ':' .. ARGV[1], 'PX', ARGV[2])
return {
  fence,
  head,
  before[1] or '0:0:0',
  before[2] or '0:0',
  claims,
  before[3] or '',
  before[4] or '',
  redis.call('GET', KEYS[4]) or '',
}
