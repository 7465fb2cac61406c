-- Some fields of one peer hash.
-- KEYS: 1 peer hash
-- ARGV: 1 now in ms ('' = this server's clock), 2 most bytes of a value, 3... names of fields
-- Answers: now and the values; only now where one is longer, or where the key holds no hash.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local answer = {string.format('%.0f', now)}
local most = tonumber(ARGV[2])
-- As in list.lua: what is too long is not copied, where this user may measure it.
for i = 3, #ARGV do
  local size = redis.pcall('HSTRLEN', KEYS[1], ARGV[i])
  if type(size) == 'number' and size > most then return answer end
  if type(size) ~= 'number' then break end
end
local values = redis.pcall('HMGET', KEYS[1], unpack(ARGV, 3))
if not values.err then
  for i = 1, #ARGV - 2 do answer[i + 1] = values[i] and #values[i] <= most and values[i] end
elseif not string.find(values.err, 'WRONGTYPE') then
  return values
end
return answer
