#!lua
-- Write a value in another form, if it is still the one that was read: a record that is sealed anew.
--
-- KEYS[1] the key that holds it
-- ARGV[1] "string", "list" or "hash"   ARGV[2] index in the list, or field of the hash
-- ARGV[3] the value as it was read   ARGV[4] the value to put in its place
-- ARGV[5] for a hash, the field to put it into   ARGV[6] for another field than the one that was read,
-- what that held, to be replaced with it; '' for nothing
--
-- Returns 1, or 0 when another value is there by now, or none. How long the key lives does not change.
-- Run twice: the second returns 0.
if ARGV[1] == 'list' then
  if redis.call('LINDEX', KEYS[1], ARGV[2]) ~= ARGV[3] then
    return 0
  end
  redis.call('LSET', KEYS[1], ARGV[2], ARGV[4])
elseif ARGV[1] == 'hash' then
  if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then
    return 0
  end
  if ARGV[5] ~= ARGV[2] then
    if (redis.call('HGET', KEYS[1], ARGV[5]) or '') ~= ARGV[6] then
      return 0
    end
    redis.call('HDEL', KEYS[1], ARGV[2])
  end
  redis.call('HSET', KEYS[1], ARGV[5], ARGV[4])
else
  if redis.call('GET', KEYS[1]) ~= ARGV[3] then
    return 0
  end
  redis.call('SET', KEYS[1], ARGV[4], 'KEEPTTL')
end
return 1
