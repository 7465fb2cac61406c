-- Would a registration be written? Writes one key of each kind and deletes it again, in one atomic step; a peer's id never has such a name.
-- KEYS: 1 peer hash, 2 pin hash, 3 hash with a key's count, 4 hash with a bucket, 5 index; all in one slot
-- Answers: 'ok'.
redis.call('TIME')
for i = 1, 4 do
  redis.call('TYPE', KEYS[i])
  redis.call('HSET', KEYS[i], 'probe', '1')
  redis.call('PEXPIRE', KEYS[i], 1000)
  redis.call('HMGET', KEYS[i], 'probe')
end
redis.call('ZADD', KEYS[5], 1, 'probe')
redis.call('ZCOUNT', KEYS[5], '-inf', '+inf')
redis.call('ZSCORE', KEYS[5], 'probe')
redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', '+inf', 'LIMIT', 0, 1)
redis.call('ZREM', KEYS[5], 'probe')
for i = 1, 4 do redis.call('DEL', KEYS[i]) end
return {'ok'}
