-- One page of live peers, in order of expiry, then id. Costs the page and a few look-ups in the index; no key is scanned for.
-- KEYS: 1 index by expiry
-- ARGV: 1 now in ms ('' = this server's clock), 2 most peers, 3 prefix of peer keys, 4 expiry of the cursor or '', 5 its id
--       On a Cluster 1 is a share of the index and 3 is '': the peers' keys are in other slots, the rows hold id and expiry.
-- Answers: live peers in all, now, 1 where there is more, expiry and id of the last member looked at, the rows.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local limit = tonumber(ARGV[2])

-- Does `a` come after `b`, by bytes? Lua's own `<` follows the server's locale, the index does not.
local function after(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

local total = redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now), '+inf')
local size = redis.call('ZCARD', KEYS[1])
local start = size - total
if ARGV[4] ~= '' then
  -- The rank of the first member after the cursor: many may share its expiry, so search among them.
  local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[4])
  local high = low + redis.call('ZCOUNT', KEYS[1], ARGV[4], ARGV[4])
  while low < high do
    local middle = math.floor((low + high) / 2)
    if after(redis.call('ZRANGE', KEYS[1], middle, middle)[1], ARGV[5]) then high = middle else low = middle + 1 end
  end
  start = math.max(start, low)
end

local rows, last = {}, {'', ''}
if limit > 0 then
  local members = redis.call('ZRANGE', KEYS[1], start, start + limit - 1, 'WITHSCORES')
  for i = 1, #members, 2 do
    local id, score = members[i], members[i + 1]
    last = {score, id}
    if ARGV[3] == '' then
      rows[#rows + 1] = {id, score}
    else
      local entry = redis.pcall('HMGET', ARGV[3] .. id, 'pubkey', 'summary', 'ark_instance_type', 'last_seen',
        'ark_issued_at')
      if entry.err then
        if not string.find(entry.err, 'WRONGTYPE') then return entry end
        -- Another program's: shown to nobody, and told from what is gone.
        rows[#rows + 1] = {id, score}
      elseif entry[1] then
        rows[#rows + 1] = {id, score, entry[1], entry[2], entry[3], entry[4], entry[5]}
      end
      -- A key that Redis evicted, or that someone deleted, is no live peer; its next heartbeat brings it back.
    end
  end
end
local more = (limit > 0 and start + limit < size) and 1 or 0
return {total, string.format('%.0f', now), more, last[1], last[2], rows}
