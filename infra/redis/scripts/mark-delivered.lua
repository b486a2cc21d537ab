#!lua flags=allow-oom
-- The reply stands in Discord (or never can): take it out of the outbox.
--
-- KEYS[1] reply     string: the reply record
-- KEYS[2] delivery  hash: part number -> Discord message id
-- KEYS[3] outbox    zset of the bucket
-- ARGV[1] outbox member   ARGV[2] seconds to keep the record from now
--
-- Returns 1 when it was waiting, else 0. Run twice: the second returns 0.
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return redis.call('ZREM', KEYS[3], ARGV[1])
