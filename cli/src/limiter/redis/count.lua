-- Checks and counts all parts of a question, or none. Time is this server's, so that all who ask agree.
--
-- KEYS are the counters; for each, ARGV has eight numbers: the hits, the limit, whether the hits are given back (1), the
-- length of the window in microseconds, and, where that is 0, four moments in microseconds that part windows of the calendar.
-- The answer is whether all was counted, and for each part whether it had room, what is used, and the microseconds to the end.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local counters, parts, fits = {}, {}, 1

local function window(at)
  local period = tonumber(ARGV[at + 4])
  if period > 0 then
    local start = now - now % period
    return start, start + period
  end
  for boundary = at + 5, at + 7 do
    local start, stop = tonumber(ARGV[boundary]), tonumber(ARGV[boundary + 1])
    if start <= now and now < stop then
      return start, stop
    end
  end
end

for index, key in ipairs(KEYS) do
  local at = (index - 1) * 8
  local hits, limit, back = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3] == '1'
  local counter = counters[key]
  if not counter then
    local start, stop = window(at)
    if not start then
      return redis.error_reply("CLOCK the limiter's clock is a month or more away from this server's")
    end
    local known = redis.call('HMGET', key, 'start', 'used')
    local used = 0
    -- What began later, before the clock was set back, counts now.
    if known[1] and tonumber(known[1]) >= start then
      used = tonumber(known[2])
    end
    counter = { start = start, stop = stop, used = used, before = used }
    counters[key] = counter
  end
  local room = 1
  if back then
    counter.used = math.max(0, counter.used - hits)
  elseif counter.used + hits <= limit then
    counter.used = counter.used + hits
  else
    room, fits = 0, 0
  end
  parts[index] = { counter, room }
end

if fits == 1 then
  for key, counter in pairs(counters) do
    if counter.used ~= counter.before then
      redis.call('HSET', key, 'start', string.format('%.0f', counter.start), 'used', string.format('%.0f', counter.used))
      redis.call('PEXPIREAT', key, string.format('%.0f', counter.stop / 1000))
    end
  end
end

local answer = { fits }
for _, part in ipairs(parts) do
  local counter, room = part[1], part[2]
  table.insert(answer, room)
  table.insert(answer, fits == 1 and counter.used or counter.before)
  table.insert(answer, counter.stop - now)
end
return answer
