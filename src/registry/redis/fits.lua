-- Does a key hold what the registry writes there?
-- KEYS: 1 the key; ARGV: 1 its type, 2 'pin' where it must be a readable binding
-- Answers: 1 where it does or where there is none; 0 where it is of another type; 2 where it cannot be read.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return 1 end
if kind ~= ARGV[1] then return 0 end
if ARGV[2] ~= 'pin' then return 1 end
local pin = redis.call('HMGET', KEYS[1], 'pubkey', 'digest', 'last_updated', 'seq', 'issued_at')
local function readable(number)
  return number == '' or (number and tonumber(number) ~= nil)
end
if pin[1] and pin[2] and readable(pin[3]) and readable(pin[4]) and readable(pin[5] or '') then return 1 end
return 2
