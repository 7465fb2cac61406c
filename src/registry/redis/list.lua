-- One page of live peers, in order of expiry, then id. Costs the page and a few look-ups in the index; no key is scanned for.
-- KEYS: 1 index by expiry
-- ARGV: 1 now in ms ('' = this server's clock), 2 most peers, 3 prefix of peer keys, 4 expiry of the cursor or '', 5 its id,
--       6 most bytes of an id, 7 most bytes of a field: what is longer was written by another program and is not sent on
--       On a Cluster 1 is a share of the index and 3 is '': the peers' keys are in other slots, the rows hold id and expiry.
-- Answers: live peers in all, now, 1 where there is more, expiry and id of the last member looked at, the rows.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local limit, most_id, most_field = tonumber(ARGV[2]), tonumber(ARGV[6]), tonumber(ARGV[7])
-- Two years: no time to live is longer than one. Entries beyond it are another program's, and would end no page.
local horizon = string.format('%.0f', now + 63115200000)

-- Does `a` come after `b`, by bytes? Lua's own `<` follows the server's locale, the index does not.
local function after(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x > y end
  end
  return #a > #b
end

local total = redis.call('ZCOUNT', KEYS[1], string.format('(%.0f', now), horizon)
local size = redis.call('ZCOUNT', KEYS[1], '-inf', horizon)
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

local function field(value)
  return value and #value <= most_field and value
end

-- Copying a value that is far too long would keep the server from everybody else. Whose user may not measure reads it all the same.
local measures = true
local function is_short(key)
  for _, name in ipairs({'pubkey', 'summary', 'ark_instance_type', 'last_seen'}) do
    local size = measures and redis.pcall('HSTRLEN', key, name) or 0
    if type(size) ~= 'number' then
      measures = string.find(size.err, 'WRONGTYPE') ~= nil
      return true
    end
    if size > most_field then return false end
  end
  return true
end

local rows, last, looked, sent = {}, {'', ''}, 0, 0
if limit > 0 and start < size then
  local members = redis.call('ZRANGE', KEYS[1], start, math.min(start + limit, size) - 1, 'WITHSCORES')
  for i = 1, #members, 2 do
    local id, score = members[i], members[i + 1]
    -- Of an id that is too long its beginning, ended by bytes that no id has: it is the place to go on from, and is not sent on whole.
    if #id > most_id then id = string.sub(id, 1, most_id) .. string.rep('\255', 8) end
    last = {score, id}
    if #id > most_id then
      -- Shown to nobody.
    elseif ARGV[3] == '' or not is_short(ARGV[3] .. id) then
      rows[#rows + 1] = {id, score}
    else
      local entry = redis.pcall('HMGET', ARGV[3] .. id, 'pubkey', 'summary', 'ark_instance_type', 'last_seen',
        'ark_issued_at')
      if entry.err then
        if not string.find(entry.err, 'WRONGTYPE') then return entry end
        -- Another program's: shown to nobody, and told from what is gone.
        rows[#rows + 1] = {id, score}
      elseif entry[1] then
        local row = {id, score, field(entry[1]), field(entry[2]), field(entry[3]), field(entry[4]), field(entry[5])}
        for at = 3, 7 do sent = sent + (row[at] and #row[at] or 0) end
        rows[#rows + 1] = row
      end
      -- A key that Redis evicted, or that someone deleted, is no live peer; its next heartbeat brings it back.
    end
    looked = looked + 1
    -- Eight times the longest field: the rest of the page is asked for again.
    if sent > 8 * most_field then break end
  end
end
local more = (limit > 0 and start + looked < size) and 1 or 0
return {total, string.format('%.0f', now), more, last[1], last[2], rows}
