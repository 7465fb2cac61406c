-- How many ids a key has; with 1 to add, after adding it.
-- KEYS: 1 hash with the key's count; ARGV: 1 how many to add, 2 in ms how long the count is kept after that
local count = tonumber(redis.call('HMGET', KEYS[1], 'count')[1] or '0') or 0
if ARGV[1] == '0' then return count end
count = count + tonumber(ARGV[1])
redis.call('HSET', KEYS[1], 'count', string.format('%.0f', count))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return count
