-- Renews live entries whose newest statement came again. Whatever is not exactly that is left for register.lua to judge.
-- KEYS: 1 index by expiry, 2 index of strangers. Not on a Cluster: the other keys are made of the prefixes.
-- ARGV: 1 now in ms ('' = this server's clock), 2 time to live in ms, 3 prefix of peer keys, 4 prefix of pin keys,
--       5 prefix of the indexes of keys, 6 time to live of a stranger's pin in ms,
--       7... id, public key, digest and issued_at in µs or '' of each
-- Answers: 'ok' and a text with '1' for each that was renewed, '0' for each that was not.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local ttl = tonumber(ARGV[2])
local expires_at, last_seen = string.format('%.0f', now + ttl), string.format('%.0f', math.floor(now / 1000))

-- Is this what the newest statement of a live entry said? A key that another program wrote holds no such thing.
local function is_newest(id, pubkey, digest, issued_at)
  local pin = redis.pcall('HMGET', ARGV[4] .. id, 'pubkey', 'digest', 'retired', 'revoked', 'issued_at')
  if pin.err or pin[1] ~= pubkey or pin[2] ~= digest or pin[4] == '1' or (pin[5] or '') ~= issued_at then return false end
  if pin[3] and string.find(' ' .. pin[3] .. ' ', ' ' .. pubkey .. ' ', 1, true) then return false end
  local entry = redis.pcall('HMGET', ARGV[3] .. id, 'pubkey', 'expires_at')
  -- Entry and index always have the same expiry.
  local expiry = not entry.err and entry[1] == pubkey and tonumber(entry[2])
  return expiry and expiry > now
end

-- A stranger's entry stays in the indexes of its key and of its address, and its binding is used.
local function renew_place(id, pubkey)
  if not redis.call('ZSCORE', KEYS[2], id) then return end
  redis.call('ZADD', KEYS[2], expires_at, id)
  for _, index in ipairs({ARGV[5] .. pubkey, redis.call('HMGET', ARGV[3] .. id, 'ark_place')[1] or ''}) do
    if index ~= '' then
      redis.call('ZADD', index, expires_at, id)
      redis.call('PEXPIRE', index, ttl)
    end
  end
  redis.call('PEXPIRE', ARGV[4] .. id, ARGV[6])
end

local renewed, index = {}, {}
for at = 7, #ARGV, 4 do
  local id = ARGV[at]
  local newest = is_newest(id, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if newest then
    redis.call('HSET', ARGV[3] .. id, 'last_seen', last_seen, 'expires_at', expires_at)
    redis.call('PEXPIRE', ARGV[3] .. id, ttl)
    renew_place(id, ARGV[at + 1])
    index[#index + 1], index[#index + 2] = expires_at, id
  end
  renewed[#renewed + 1] = newest and '1' or '0'
end
if #index > 0 then redis.call('ZADD', KEYS[1], unpack(index)) end
-- As in register.lua: a bounded share of sweeping with each call.
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
if #expired > 0 then redis.call('ZREM', KEYS[1], unpack(expired)) end
return {'ok', table.concat(renewed)}
