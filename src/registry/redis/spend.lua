-- Takes one of an allowance that all replicas share (GCRA): what is kept is when the bucket will be full again.
-- KEYS: 1 hash with the bucket; ARGV: 1 how many in the window, 2 the window in µs
-- Answers: 1 and how many are left, or 0 and the µs until there is one.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local most, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local each = window / most
local full_at = math.max(tonumber(redis.call('HMGET', KEYS[1], 'full_at')[1] or '0') or 0, now) + each
local wait = full_at - window - now
-- Half a microsecond is lost in the text that is kept.
if wait > 0.5 then return {0, math.ceil(wait)} end
redis.call('HSET', KEYS[1], 'full_at', string.format('%.0f', full_at))
redis.call('PEXPIRE', KEYS[1], math.ceil((full_at - now) / 1000))
return {1, math.max(0, math.floor((window - (full_at - now)) / each))}
