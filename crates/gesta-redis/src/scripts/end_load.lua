-- Stores an answer, if one is given, and ends the turn to load if it is this caller's.
-- KEYS: answer, turn. ARGV: token, then answer and its life in ms, or nothing.
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
local turn = redis.call('GET', KEYS[2])
if turn and string.sub(turn, 1, 32) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
return 'ended'
