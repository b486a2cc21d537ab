#!lua flags=allow-oom
-- Note which Discord message shows a part of a reply; the first note of a part wins.
--
-- KEYS[1] delivery  hash: part number -> Discord message id
-- KEYS[2] known     string: seq of the turn
-- KEYS[3] reply     string: the reply record
-- ARGV[1] part number   ARGV[2] message id   ARGV[3] seconds to keep the notes
--
-- Returns 1, or 0 when the part is noted, or -7 when the turn is unknown: its conversation was
-- deleted, and a late note must not bring a piece of it back. Run twice: the second returns 0.
if redis.call('EXISTS', KEYS[2], KEYS[3]) == 0 then
  return -7
end
local noted = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return noted
