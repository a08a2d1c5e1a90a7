-- Returns what it has written: the server reads, writes and runs scripts.
redis.call('SET', KEYS[1], ARGV[1], 'PX', 10000)
return redis.call('GET', KEYS[1])
