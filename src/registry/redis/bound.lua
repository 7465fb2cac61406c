-- Which key an id is bound to.
-- KEYS: 1 pin hash
-- Answers: key and line ('' where there is none); nothing where the id is bound to no key; 'corrupt' for a hash that is no pin.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {} end
if kind ~= 'hash' then return redis.error_reply('WRONGTYPE the pin is no hash') end
local pin = redis.call('HMGET', KEYS[1], 'pubkey', 'line')
if not pin[1] then return {'corrupt'} end
return {pin[1], pin[2] or ''}
