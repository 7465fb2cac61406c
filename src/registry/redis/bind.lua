-- Binds an id to what its key's statements led to, where it is still bound as it was when they were judged.
-- KEYS: 1 pin hash, 2 peer hash, 3 index by expiry; on a Cluster without the index, which is in other slots
-- ARGV: 1 key before ('' = none), 2 line before ('' = none, '*' = any), 3 key, 4 line, 5 replaced keys with spaces between them,
--       6 '1' where the key is revoked, 7 id, 8 the statements that lead to the line
-- Answers: 'ok', or 'changed'.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then return redis.error_reply('WRONGTYPE the pin is no hash') end
local pin = kind == 'hash' and redis.call('HMGET', KEYS[1], 'pubkey', 'line') or {}
if (pin[1] or '') ~= ARGV[1] or (ARGV[2] ~= '*' and (pin[2] or '') ~= ARGV[2]) then return 'changed' end
redis.call('HSET', KEYS[1], 'line', ARGV[4], 'retired', ARGV[5], 'revoked', ARGV[6],
  'statements', ARGV[8])
local same_key = pin[1] == ARGV[3]
if not same_key then
  -- Nothing of what the key before said counts any more.
  redis.call('HSET', KEYS[1], 'pubkey', ARGV[3], 'last_updated', '', 'seq', '', 'digest', string.rep('0', 64),
    'issued_at', '', 'superseded', '')
end
if ARGV[6] == '1' or not same_key then
  redis.call('DEL', KEYS[2])
  if KEYS[3] then redis.call('ZREM', KEYS[3], ARGV[7]) end
end
return 'ok'
