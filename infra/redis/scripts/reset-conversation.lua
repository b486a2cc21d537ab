#!lua flags=allow-oom
-- Forget: the next turn starts from the empty state. Waiting turns stay.
--
-- KEYS[1] meta      hash of the conversation
-- KEYS[2] log       list of token blocks
--
-- Returns the number of tokens forgotten. The log's epoch grows, so a turn that is running on the
-- old state cannot commit (-6) and starts again on the new one. Run twice: forgets nothing more.
local head = redis.call('HGET', KEYS[1], 'logHead') or '0:0:0'
local epoch, tokens = string.match(head, '^(%d+):(%d+):')
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'logHead', (epoch + 1) .. ':0:0', 'logStart', '0:0')
return tonumber(tokens)
