-- Stores a snapshot, unless the stored one is of the same fold and incarnation and later.
-- The first eight digits of a fingerprint identify the fold.
-- KEYS: snapshot. ARGV: revision, incarnation, fingerprint, state.
local stored = redis.call('HMGET', KEYS[1], 'revision', 'incarnation', 'fingerprint')
local function fold(fingerprint) return string.sub(fingerprint or '', 1, 8) end
if stored[1] and stored[2] == ARGV[2] and fold(stored[3]) == fold(ARGV[3])
  and stored[1] > ARGV[1] then
  return 'newer'
end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'incarnation', ARGV[2], 'fingerprint', ARGV[3],
  'state', ARGV[4])
return 'saved'
