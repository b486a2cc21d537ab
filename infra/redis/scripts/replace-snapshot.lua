#!lua
-- Put a snapshot that was sealed anew in the place of the one it was made from. (State Redis.)
--
-- KEYS[1] snapshot  hash of chunks
-- KEYS[2] made      hash of chunks, to take its place
--
-- Returns 1, or 0 when the snapshot was dropped meanwhile: then nothing of it comes back. How long it
-- lives does not change. Run twice: the second returns 0.
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[2])
  return 0
end
local life = redis.call('PTTL', KEYS[1])
redis.call('RENAME', KEYS[2], KEYS[1])
if life > 0 then
  redis.call('PEXPIRE', KEYS[1], life)
else
  redis.call('PERSIST', KEYS[1])
end
return 1
