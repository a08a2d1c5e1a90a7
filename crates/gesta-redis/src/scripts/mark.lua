-- Sets the marks that exist to a position, unless they are at a later one.
-- KEYS: marks. ARGV: position.
for _, key in ipairs(KEYS) do
  local mark = redis.call('GET', key)
  if mark and string.sub(mark, 17) < ARGV[1] then
    redis.call('SET', key, string.sub(mark, 1, 16) .. ARGV[1], 'KEEPTTL')
  end
end
return 'marked'
