#!lua flags=no-writes
-- How a conversation stands at one moment, for those who then want to change it: they name the log
-- head they saw. A script and not MULTI, which Redis refuses when memory is out.
--
-- KEYS[1] meta      hash of the conversation
-- KEYS[2] log       list of token blocks
-- KEYS[3] turns     list of the turns that can be taken back
-- KEYS[4] last      string: the last turn
--
-- Returns { 1 if it exists, log head, log start, model, community, last, blocks, turns, all of meta };
-- what is missing is "".
-- Writes nothing. Run twice: the same, unless something happened in between.
local meta = redis.call('HMGET', KEYS[1], 'logHead', 'logStart', 'model', 'community')
return {
  redis.call('EXISTS', KEYS[1]),
  meta[1] or '0:0:0',
  meta[2] or '0:0',
  meta[3] or '',
  meta[4] or '',
  redis.call('GET', KEYS[4]) or '',
  redis.call('LRANGE', KEYS[2], 0, -1),
  redis.call('LRANGE', KEYS[3], 0, -1),
  redis.call('HGETALL', KEYS[1]),
}
