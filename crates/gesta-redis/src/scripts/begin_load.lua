-- Makes missing marks, then gives the turn to load. Returns one of
--   answer, the stored answer   if it is valid by now
--   busy                        if another node loads one that will do
--   load, epochs of the marks   otherwise
-- KEYS: answer, turn, marks. ARGV: epoch for new marks, position asked for, position expected,
-- token, life of marks in ms, life of a turn in ms.
local stored = redis.call('GET', KEYS[1])
local position = stored and string.sub(stored, 1, 20)
local valid = stored and position >= ARGV[2]
local reply = { 'load' }
for index = 3, #KEYS do
  local mark = redis.call('GET', KEYS[index])
  if not mark then
    mark = ARGV[1] .. string.rep('0', 20)
    redis.call('SET', KEYS[index], mark, 'PX', ARGV[5])
  elseif redis.call('PTTL', KEYS[index]) < ARGV[5] / 2 then
    redis.call('PEXPIRE', KEYS[index], ARGV[5])
  end
  local epoch = string.sub(mark, 1, 16)
  local start = 21 + (index - 3) * 16
  if valid and (string.sub(stored, start, start + 15) ~= epoch or string.sub(mark, 17) > position) then
    valid = false
  end
  reply[index - 1] = epoch
end
if valid then
  return { 'answer', stored }
end
local turn = redis.call('GET', KEYS[2])
if turn and string.sub(turn, 33) >= ARGV[2] then
  return { 'busy' }
end
if not turn then
  redis.call('SET', KEYS[2], ARGV[4] .. ARGV[3], 'PX', ARGV[6])
end
return reply
