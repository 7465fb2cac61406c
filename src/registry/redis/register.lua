-- Registers one statement: the rules of trust::Pin::step and the write, in one atomic step.
-- KEYS: 1 peer hash, 2 pin hash, 3 index by expiry; on a Cluster without the index, which is in other slots
-- ARGV: 1 now in ms ('' = this server's clock), 2 time to live in ms, 3 most live entries, 4 'first_key' or 'any_key', 5 id,
--       6 public key, 7 last_updated in µs or '', 8 seq or '', 9 digest, 10 issued_at in µs or '',
--       11... names and values of the peer hash
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

-- A hash that another program put there is written anew.
local is_hash = holds(KEYS[1]) == 'hash'
if KEYS[3] then
  local score = redis.call('ZSCORE', KEYS[3], id)
  if not (score and tonumber(score) > now) and redis.call('ZCOUNT', KEYS[3], string.format('(%.0f', now), '+inf') >= limit then
    return {'full'}
  end
elseif ARGV[3] == 'ask' then
  local expiry = is_hash and tonumber(redis.call('HMGET', KEYS[1], 'expires_at')[1])
  if not (expiry and expiry > now) then return {'room?'} end
end

local expires_at = string.format('%.0f', now + ttl)
local last_seen = string.format('%.0f', math.floor(now / 1000))
-- The first write is one that Redis refuses when its memory is full: then nothing at all is written.
if takes_over then redis.call('HSET', KEYS[2], 'line', '', 'retired', '', 'revoked', '') end
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
  for first = 11, #ARGV, 1000 do
    redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
end
redis.call('PEXPIRE', KEYS[1], ttl)
if KEYS[3] then
  redis.call('ZADD', KEYS[3], expires_at, id)
  -- A bounded share of sweeping with each call: the index grows by at most one a call, so it cannot grow without end.
  local expired = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now), 'LIMIT', 0, 100)
  if #expired > 0 then redis.call('ZREM', KEYS[3], unpack(expired)) end
end
return {'ok', step, expires_at}
