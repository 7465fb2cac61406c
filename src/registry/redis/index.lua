-- On a Cluster: enters one registration into its share of the index, and sweeps as register.lua does; or takes one out.
-- KEYS: 1 share of the index
-- ARGV: 1 now in ms ('' = this server's clock), 2 expiry in ms or 'gone', 3 id
if ARGV[2] == 'gone' then
  redis.call('ZREM', KEYS[1], ARGV[3])
  return {'ok'}
end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
-- Two registrations of one id may come here in another order than they were made in.
local score = redis.call('ZSCORE', KEYS[1], ARGV[3])
if not score or tonumber(score) < tonumber(ARGV[2]) then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3]) end
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
if #expired > 0 then redis.call('ZREM', KEYS[1], unpack(expired)) end
return {'ok'}
