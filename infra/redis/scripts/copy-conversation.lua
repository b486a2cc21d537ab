#!lua flags=no-writes
-- Everything that keys hold, as it stands at one moment: a conversation for a backup.
--
-- KEYS[1…] keys of one conversation, which may be gone by now
--
-- Returns { type, ms it has left to live (-1: it stays, -2: it is gone), values } for each, in order. A
-- hash is its fields and values in turn. Writes nothing. Run twice: the same, unless something
-- happened in between.
local copies = {}
for index = 1, #KEYS do
  local kind = redis.call('TYPE', KEYS[index]).ok
  local values = {}
  if kind == 'string' then
    values = { redis.call('GET', KEYS[index]) }
  elseif kind == 'list' then
    values = redis.call('LRANGE', KEYS[index], 0, -1)
  elseif kind == 'hash' then
    values = redis.call('HGETALL', KEYS[index])
  end
  copies[index] = { kind, redis.call('PTTL', KEYS[index]), values }
end
return copies
