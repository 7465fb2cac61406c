-- Registers one statement: the rules of trust::Pin::step and the write, in one atomic step.
-- KEYS: 1 peer hash, 2 pin hash, 3 index by expiry, 4 sorted set with the bytes of strangers' entries, 5 index of strangers, 6 index of the key,
--       7 index of the address, where there is one; on a Cluster 1 and 2 only, the others are in other slots
-- ARGV: 1 now in ms ('' = this server's clock), 2 time to live in ms, 3 most live entries, 4 'first_key' or 'any_key', 5 id,
--       6 public key, 7 last_updated in µs or '', 8 seq or '', 9 digest, 10 issued_at in µs or '', 11 time to live of a stranger's pin
--       in ms, 12 bytes of the entry, 13 most bytes of strangers, 14 most entries of strangers ('' = a known peer), 15 of the key,
--       16 of the address, 17... names and values of the peer hash
--       Without an index 3 is 'ask', answered with 'room?' for an entry that is not live, or 'room' where there is some.
-- Answers: 'ok', step and expiry in ms; or why not.
-- Numbers stay below 2^53, where doubles are exact; they are stored as the text that came.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local ttl, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local id, pubkey, last_updated, seq, digest, issued_at = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]

-- Is `next` below `newest`? Absent ('') is below everything that is present.
local function below(next, newest)
  if newest == '' then return false end
  return next == '' or tonumber(next) < tonumber(newest)
end

local function readable(number)
  return number == '' or (number and tonumber(number) ~= nil)
end

local function holds(key)
  return redis.call('TYPE', key).ok
end

local step = 'first'
local takes_over = false
-- Digests, with spaces between them, that were replaced at the same last_updated: trust::MAX_SUPERSEDED of them.
local superseded = ''
if holds(KEYS[2]) ~= 'none' then
  local pin = redis.call('HMGET', KEYS[2], 'pubkey', 'last_updated', 'seq', 'digest', 'line', 'retired', 'revoked',
    'issued_at', 'superseded')
  local pinned = pin[8] or ''
  if not (pin[1] and pin[4] and readable(pin[2]) and readable(pin[3]) and readable(pinned)) then
    return {'corrupt', 'the pin'}
  end
  local both = issued_at ~= '' and pinned ~= ''
  local is_older = both and tonumber(issued_at) < tonumber(pinned)
  local is_reissued = issued_at ~= '' and (pinned == '' or tonumber(issued_at) > tonumber(pinned))
  local same_date = last_updated ~= '' and pin[2] ~= '' and tonumber(last_updated) == tonumber(pin[2])
  -- A key that was revoked or replaced by its own statements speaks in no mode.
  if pin[7] == '1' and pin[1] == pubkey then return {'revoked'} end
  if pin[6] and string.find(' ' .. pin[6] .. ' ', ' ' .. pubkey .. ' ', 1, true) then return {'key_mismatch'} end
  if pin[1] ~= pubkey then
    if ARGV[4] ~= 'any_key' then return {'key_mismatch'} end
    takes_over = (pin[5] or '') ~= ''
  elseif pin[4] == digest then
    if is_older then return {'rollback', 'issued_at'} end
    step = is_reissued and 'reissued' or 'heartbeat'
  elseif below(seq, pin[3]) then
    return {'rollback', 'seq'}
  elseif below(last_updated, pin[2]) then
    return {'rollback', 'last_updated'}
  elseif same_date and not is_reissued and string.find(' ' .. (pin[9] or '') .. ' ', ' ' .. digest .. ' ', 1, true) then
    return {'superseded'}
  elseif is_older then
    return {'rollback', 'issued_at'}
  elseif pin[3] ~= '' and tonumber(seq) == tonumber(pin[3]) then
    return {'equivocation'}
  elseif pin[3] ~= '' and tonumber(seq) - tonumber(pin[3]) > 4294967296 then
    return {'fast_forward'}
  else
    step = 'newer'
    if same_date then
      superseded = (pin[9] or '') == '' and pin[4] or pin[9] .. ' ' .. pin[4]
      -- Eight of 64 digits and the spaces between them.
      if #superseded > 519 then superseded = string.sub(superseded, -519) end
    end
  end
end

local stranger = ARGV[14] ~= ''
local bytes = tonumber(ARGV[12])

local function live_in(index)
  return redis.call('ZCOUNT', index, string.format('(%.0f', now), '+inf')
end

-- The bytes of strangers' entries in all, under the empty name, and of this one. Entries that expired give theirs back, a bounded share
-- with each call. ZADD first: Redis refuses it when its memory is full, and then nothing is written.
local function stranger_bytes()
  local total = tonumber(redis.call('ZSCORE', KEYS[4], '') or '0')
  local expired = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
  if #expired > 0 then
    for _, gone in ipairs(expired) do total = total - tonumber(redis.call('ZSCORE', KEYS[4], gone) or '0') end
    total = math.max(total, 0)
    redis.call('ZADD', KEYS[4], string.format('%.0f', total), '')
    redis.call('ZREM', KEYS[4], unpack(expired))
    redis.call('ZREM', KEYS[5], unpack(expired))
  end
  return total, tonumber(redis.call('ZSCORE', KEYS[4], id) or '0')
end

-- A hash that another program put there is written anew.
local is_hash = holds(KEYS[1]) == 'hash'
local total_bytes, bytes_before = 0, 0
if KEYS[3] then
  local score = redis.call('ZSCORE', KEYS[3], id)
  local is_live = score and tonumber(score) > now
  total_bytes, bytes_before = stranger_bytes()
  if stranger and not is_live then
    if live_in(KEYS[6]) >= tonumber(ARGV[15]) then return {'no_place', 'key'} end
    if KEYS[7] and live_in(KEYS[7]) >= tonumber(ARGV[16]) then return {'no_place', 'address'} end
    if live_in(KEYS[5]) >= tonumber(ARGV[14]) then return {'no_place', 'strangers'} end
  end
  if stranger and (step ~= 'heartbeat' or not is_live) and bytes > bytes_before
    and total_bytes - bytes_before + bytes > tonumber(ARGV[13]) then
    return {'no_bytes', 'strangers'}
  end
  if not is_live and live_in(KEYS[3]) >= limit then return {'full'} end
elseif ARGV[3] == 'ask' then
  local expiry = is_hash and tonumber(redis.call('HMGET', KEYS[1], 'expires_at')[1])
  if not (expiry and expiry > now) then return {'room?'} end
end

local expires_at = string.format('%.0f', now + ttl)
local last_seen = string.format('%.0f', math.floor(now / 1000))
-- The first write is one that Redis refuses when its memory is full: then nothing at all is written.
if takes_over then redis.call('HSET', KEYS[2], 'line', '', 'retired', '', 'revoked', '', 'statements', '') end
if step == 'reissued' then
  redis.call('HSET', KEYS[2], 'issued_at', issued_at)
elseif step ~= 'heartbeat' then
  redis.call('HSET', KEYS[2], 'pubkey', pubkey, 'last_updated', last_updated, 'seq', seq, 'digest', digest,
    'issued_at', issued_at, 'superseded', superseded)
end
if step == 'heartbeat' and is_hash then
  redis.call('HSET', KEYS[1], 'last_seen', last_seen, 'expires_at', expires_at)
else
  -- Fields of an older manifest must not outlive it.
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'last_seen', last_seen, 'expires_at', expires_at)
  -- Lua can pass about 8,000 values to one call.
  for first = 17, #ARGV, 1000 do
    redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
end
redis.call('PEXPIRE', KEYS[1], ttl)
-- The binding of a peer that is not known goes when it was not used for long. That of one that became known stays for a century.
local was_stranger = redis.call('HMGET', KEYS[2], 'stranger')[1] == '1'
if stranger then
  if not was_stranger then redis.call('HSET', KEYS[2], 'stranger', '1') end
  redis.call('PEXPIRE', KEYS[2], ARGV[11])
elseif was_stranger then
  redis.call('HSET', KEYS[2], 'stranger', '')
  redis.call('PEXPIRE', KEYS[2], 3155760000000)
end
if KEYS[3] then
  if stranger then
    redis.call('ZADD', KEYS[4], string.format('%.0f', total_bytes - bytes_before + bytes), '', ARGV[12], id)
    redis.call('ZADD', KEYS[5], expires_at, id)
    for i = 6, #KEYS do
      local expired = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
      if #expired > 0 then redis.call('ZREM', KEYS[i], unpack(expired)) end
      redis.call('ZADD', KEYS[i], expires_at, id)
      redis.call('PEXPIRE', KEYS[i], ttl)
    end
    redis.call('HSET', KEYS[1], 'ark_place', KEYS[7] or '')
  elseif redis.call('ZREM', KEYS[5], id) == 1 then
    redis.call('ZADD', KEYS[4], string.format('%.0f', math.max(total_bytes - bytes_before, 0)), '')
    redis.call('ZREM', KEYS[4], id)
  end
  redis.call('ZADD', KEYS[3], expires_at, id)
  -- A bounded share of sweeping with each call: the index grows by at most one a call, so it cannot grow without end.
  local expired = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
  if #expired > 0 then redis.call('ZREM', KEYS[3], unpack(expired)) end
end
return {'ok', step, expires_at}
