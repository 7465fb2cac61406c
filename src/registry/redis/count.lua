-- How many ids a key has; with 1 to add, after adding it.
-- KEYS: 1 the key's count; ARGV: 1 how many to add
if ARGV[1] ~= '0' then return redis.call('INCRBY', KEYS[1], ARGV[1]) end
return tonumber(redis.call('GET', KEYS[1]) or '0')
