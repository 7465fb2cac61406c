-- Binds an id to a key where it is bound to none.
-- KEYS: 1 pin hash; ARGV: 1 key
-- Answers: 'ok' where that was done, or 'bound', and the key that it is bound to ('' for what is no pin).
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  -- As bind.lua: of this key nothing was said yet.
  redis.call('HSET', KEYS[1], 'pubkey', ARGV[1], 'last_updated', '', 'seq', '', 'digest', string.rep('0', 64))
  return {'ok', ARGV[1]}
end
if kind ~= 'hash' then return redis.error_reply('WRONGTYPE the pin is no hash') end
return {'bound', redis.call('HMGET', KEYS[1], 'pubkey')[1] or ''}
